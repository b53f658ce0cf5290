from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sage_pl.training.callbacks.pruning import PrunedError, Pruning, open_storage

optuna = pytest.importorskip("optuna")
FIGURE = "val/full/ndcg@10"


class Trials:
    """A study in which three trials have reached 0.1, 0.2, 0.3 at epoch 0 and a tenth more at epoch 1, and a running one."""

    def __init__(self, storage: str) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.storage = storage
        self.study = optuna.create_study(storage=open_storage(storage), study_name="search", direction="maximize")
        for value in (0.1, 0.2, 0.3):
            trial = self.study.ask()
            for epoch in (0, 1):
                trial.report(value + epoch / 10, epoch)
            self.study.tell(trial, value + 0.1)
        self.number = self.study.ask().number

    def callback(self, **settings: int) -> Pruning:
        return Pruning(self.storage, "search", self.number, FIGURE, **settings)

    @property
    def running(self) -> Any:
        return self.study.trials[self.number]


@pytest.fixture(params=["sqlite:///{}/search.db", "{}/search.journal"], ids=["database", "journal"])
def trials(request: pytest.FixtureRequest, tmp_path: Path) -> Trials:
    return Trials(request.param.format(tmp_path))


def validate(callback: Pruning, epoch: int, value: float, sanity: bool = False) -> None:
    trainer: Any = SimpleNamespace(
        sanity_checking=sanity, is_global_zero=True, current_epoch=epoch, callback_metrics={FIGURE: value}
    )
    module: Any = None
    callback.on_validation_end(trainer, module)


def test_a_trial_below_the_median_is_pruned(trials: Trials) -> None:
    callback = trials.callback(startup=3, warmup=0)
    validate(callback, 0, 0.25)
    assert not trials.running.user_attrs
    with pytest.raises(PrunedError, match=r"after epoch 1: its best .* 0\.2500, is below"):
        validate(callback, 1, 0.15)  # the median at epoch 1 is 0.3
    assert trials.running.user_attrs == {"pruned": 1}
    assert trials.running.intermediate_values == {0: 0.25, 1: 0.15}


@pytest.mark.parametrize("settings", [{"startup": 4, "warmup": 0}, {"startup": 3, "warmup": 2}], ids=str)
def test_none_is_pruned_too_early(trials: Trials, settings: dict[str, int]) -> None:
    callback = trials.callback(**settings)
    for epoch in (0, 1):
        validate(callback, epoch, 0.0)
    assert trials.running.intermediate_values == {0: 0.0, 1: 0.0}


def test_the_sanity_check_is_left_out(trials: Trials) -> None:
    validate(trials.callback(startup=3, warmup=0), 0, 0.0, sanity=True)
    assert trials.running.intermediate_values == {}


def test_a_trial_that_another_search_has_ended_ends(trials: Trials) -> None:
    callback = trials.callback()
    trials.study.tell(trials.number, state=optuna.trial.TrialState.FAIL)
    with pytest.raises(PrunedError, match=r"trial 3 has ended in its study"):
        validate(callback, 0, 0.25)
