"""A search with Optuna: settings are chosen by those before them, and the study is a file that can be continued."""

from __future__ import annotations

import csv
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep, Transformer
from hydra.errors import CompactHydraException

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

log = logging.getLogger(__name__)
NAME = "search"  # of the study in its file
Run = Callable[["Trial"], tuple[bool, Path]]


class SearchError(CompactHydraException):
    """The search cannot go on; the message says why."""


def storage(folder: Path) -> str:
    """Where the study of a search is kept, as Optuna names it."""
    return f"sqlite:///{folder.resolve()}/{NAME}.db"


def distribution(override: Override) -> BaseDistribution:
    """``a,b,c``, ``choice(a,b)``, ``range(1,9,2)``, ``interval(0,1)`` or ``tag(log,interval(1e-4,1e-2))`` for Optuna."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    value: Any = override.value()
    if isinstance(value, RangeSweep):
        return CategoricalDistribution(list(value.range()))
    if not isinstance(value, IntervalSweep):
        return CategoricalDistribution(list[Any](override.sweep_iterator(Transformer.encode)))
    whole = isinstance(value.start, int) and isinstance(value.end, int)
    kind: Any = IntDistribution if whole else FloatDistribution
    return kind(value.start, value.end, log="log" in value.tags)


class Search:
    """``trials`` trials of a study, each run, told and written down.

    The first trial has the configuration's own values of what is searched; those of the others are a function of the seed
    and the trials before them. A trial that was cut off is repeated when the search goes on. The value of a trial is its
    best validation, as :class:`sage_pl.training.callbacks.pruning.Pruning` reports it.

    Args:
        folder: of the search; the study is ``search.db`` in it.
        space: key -> where its values are drawn from.
        settings: all else that the trials have in common.
        defaults: key -> the configuration's own value.
        startup: trials drawn at random before the model of the others (TPE) chooses.
        seed: of the draws.

    Raises:
        SearchError: Optuna is missing, the folder holds a search of other settings, or its first trial fails.
    """

    def __init__(
        self,
        folder: Path,
        space: Mapping[str, Override],
        settings: Sequence[str],
        defaults: Mapping[str, Any],
        startup: int,
        seed: int,
    ) -> None:
        try:
            import optuna
        except ModuleNotFoundError as error:
            raise SearchError("a search needs the package optuna: pip install 'sage-pl[search]'") from error
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.folder, self.startup, self.seed, self.defaults = folder, startup, seed, dict(defaults)
        self.space = {key: distribution(override) for key, override in space.items()}
        self.about = {
            **{key: str(place) for key, place in self.space.items()},
            "all trials": " ".join(sorted(settings)),
        }

    def run(self, trials: int, run: Run) -> Study:
        """Go on until ``trials`` trials have ended.

        Args:
            trials: how many, with those of earlier calls.
            run: called with each trial; says whether it finished, and its folder.
        """
        import optuna

        with _alone(self.folder):
            study = optuna.create_study(
                storage=storage(self.folder), study_name=NAME, direction="maximize", load_if_exists=True
            )
            self._check(study)
            self._queue(study)
            while (done := sum(trial.state.is_finished() for trial in study.trials)) < trials:
                study.sampler = optuna.samplers.TPESampler(
                    seed=self.seed + len(study.trials), n_startup_trials=self.startup
                )
                trial = study.ask(self.space)
                log.info("trial %d (%d of %d)", trial.number, done + 1, trials)
                ended_well, place = run(trial)
                trial.set_user_attr("folder", str(place))
                self._tell(study, trial.number, ended_well)
                self._write(study)
                if not finished(study):
                    raise SearchError(f"no trial has finished yet, so the search ends; the log is {place}/train.log")
        return study

    def _check(self, study: Study) -> None:
        earlier = study.user_attrs.get("about")
        if earlier is None:
            study.set_user_attr("about", self.about)
        elif differing := sorted(k for k in earlier.keys() | self.about.keys() if earlier.get(k) != self.about.get(k)):
            texts = [f"{key}: {earlier.get(key)} -> {self.about.get(key)}" for key in differing]
            raise SearchError(
                f"{self.folder} holds a search of other settings ({'; '.join(texts)}); repeat its command, remove it, or "
                "choose another with hydra.sweep.dir=..."
            )

    def _queue(self, study: Study) -> None:
        """What comes before any draw: the defaults, or the trial that was cut off."""
        from optuna.trial import TrialState

        cut_off = study.get_trials(states=(TrialState.RUNNING,))
        if not (cut_off or finished(study)):
            study.enqueue_trial({key: self.defaults[key] for key in self.space if self._holds(key)})
        for trial in cut_off:
            log.info("trial %d was cut off and is repeated", trial.number)
            study.tell(trial.number, state=TrialState.FAIL)
            study.enqueue_trial(trial.params)

    def _holds(self, key: str) -> bool:
        """Whether a key's default is among the values that are searched."""
        place: Any = self.space[key]
        value = self.defaults[key]
        if hasattr(place, "choices"):
            return value in place.choices
        return isinstance(value, int | float) and place.low <= value <= place.high

    def _tell(self, study: Study, number: int, ended_well: bool) -> None:
        from optuna.trial import TrialState

        trial = study.trials[number]
        if ended_well:
            study.tell(number, max(trial.intermediate_values.values()))
        else:
            study.tell(number, state=TrialState.PRUNED if "pruned" in trial.user_attrs else TrialState.FAIL)

    def _write(self, study: Study) -> None:
        """``search.csv``: the finished trials, best first, then the others."""
        keys, ranked = list(self.space), finished(study)
        ranked += [trial for trial in study.trials if trial not in ranked]
        with (self.folder / f"{NAME}.csv").open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["trial", "state", "value", "validations", *keys, "folder"])
            for trial in ranked:
                settings = [trial.params.get(key) for key in keys]
                row = [trial.number, trial.state.name.lower(), trial.value, len(trial.intermediate_values), *settings]
                writer.writerow([*row, trial.user_attrs.get("folder")])


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time: a trial that is running elsewhere must not be taken for one that was cut off."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / f"{NAME}.lock", timeout=0):
            yield
    except Timeout as error:
        raise SearchError(
            f"another process is at the search in {folder}; wait for it, or choose another with hydra.sweep.dir=..."
        ) from error


def finished(study: Study) -> list[FrozenTrial]:
    """Trials that ran to their end, the best validation first, the earliest of equals."""
    complete = [trial for trial in study.trials if trial.state.name == "COMPLETE"]
    return sorted(complete, key=lambda trial: (-(trial.value or 0.0), trial.number))


def failed(study: Study) -> list[FrozenTrial]:
    """Trials that ended with an error; not those that were given up or cut off."""
    return [trial for trial in study.trials if trial.state.name == "FAIL" and "folder" in trial.user_attrs]
