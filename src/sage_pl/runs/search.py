"""A search with Optuna: settings depend on earlier results, and the study is a file that can be continued."""

from __future__ import annotations

import csv
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep, Transformer
from hydra.errors import CompactHydraException

from sage_pl.artifacts.files import whole_file
from sage_pl.artifacts.locks import LockError, locked
from sage_pl.escaping import csv_cell
from sage_pl.runs.sweeps import progress

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

log = logging.getLogger(__name__)
NAME = "search"  # of the study in its file
Run = Callable[["Trial"], tuple[bool, Path]]


class SearchError(CompactHydraException):
    """The search cannot continue; the message names the cause."""


def storage(folder: Path) -> str:
    """Optuna's address of the study of a search."""
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
    """A study: runs its trials one after the other, reports each to Optuna and writes ``search.csv``.

    The first trial has the configuration's own values of the searched keys; the others' values are a function of the seed
    and the earlier trials. An interrupted trial is repeated when the search continues. The value of a trial is its best
    validation, as reported by :class:`sage_pl.training.callbacks.pruning.Pruning`.

    Args:
        folder: of the search; the study is its file ``search.db``.
        space: searched key -> distribution of its values.
        settings: all other settings of the trials.
        defaults: searched key -> the configuration's own value.
        startup: random trials before Optuna's TPE chooses.
        seed: of the draws.

    Raises:
        SearchError: Optuna is absent, the folder holds a search of other settings, or its first trial fails.
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
        self.about = {key: str(values) for key, values in self.space.items()}
        self.about["all trials"] = " ".join(sorted(settings))

    def run(self, trials: int, run: Run) -> Study:
        """Run trials until ``trials`` have ended, those of earlier calls included.

        Args:
            trials: number of trials.
            run: runs a trial; returns whether it finished, and its folder.
        """
        import optuna

        with _locked(self.folder):
            address = storage(self.folder)
            study = optuna.create_study(storage=address, study_name=NAME, direction="maximize", load_if_exists=True)
            self._check(study)
            self._queue(study)
            while (n_ended := sum(trial.state.is_finished() for trial in study.trials)) < trials:
                seed = self.seed + len(study.trials)
                study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=self.startup)
                trial = study.ask(self.space)
                ended = [one.duration for one in study.trials if one.state.name in ("COMPLETE", "PRUNED")]
                seconds = [duration.total_seconds() for duration in ended if duration is not None]
                log.info("trial %d: %s", trial.number, progress(n_ended + 1, trials, seconds))
                success, folder = run(trial)
                trial.set_user_attr("folder", str(folder))
                self._tell(study, trial.number, success)
                self._write(study)
                if not finished(study):
                    raise SearchError(f"no trial has finished yet, so the search ends; the log is {folder}/train.log")
        return study

    def _check(self, study: Study) -> None:
        earlier = study.user_attrs.get("about")
        if earlier is None:
            study.set_user_attr("about", self.about)
        elif keys := sorted(k for k in earlier.keys() | self.about.keys() if earlier.get(k) != self.about.get(k)):
            texts = [f"{key}: {earlier.get(key)} -> {self.about.get(key)}" for key in keys]
            raise SearchError(
                f"{self.folder} holds a search of other settings ({'; '.join(texts)}); repeat its command, remove it, or "
                "choose another with hydra.sweep.dir=..."
            )

    def _queue(self, study: Study) -> None:
        """Queue what precedes any draw: the interrupted trials, or the defaults."""
        from optuna.trial import TrialState

        interrupted = study.get_trials(states=(TrialState.RUNNING,))
        if not (interrupted or finished(study)):
            study.enqueue_trial({key: self.defaults[key] for key in self.space if self._contains_default(key)})
        for trial in interrupted:
            log.info("trial %d was interrupted and is repeated", trial.number)
            study.tell(trial.number, state=TrialState.FAIL)
            study.enqueue_trial(trial.params)

    def _contains_default(self, key: str) -> bool:
        """Whether a key's default is in its search space."""
        values: Any = self.space[key]
        default = self.defaults[key]
        if hasattr(values, "choices"):
            return default in values.choices
        return isinstance(default, int | float) and values.low <= default <= values.high

    def _tell(self, study: Study, number: int, success: bool) -> None:
        from optuna.trial import TrialState

        trial = study.trials[number]
        if success:
            study.tell(number, max(trial.intermediate_values.values()))
        else:
            study.tell(number, state=TrialState.PRUNED if "pruned" in trial.user_attrs else TrialState.FAIL)

    def _write(self, study: Study) -> None:
        """``search.csv``: the finished trials, best first, then the others."""
        keys, ranked = list(self.space), finished(study)
        ranked += [trial for trial in study.trials if trial not in ranked]
        with whole_file(self.folder / f"{NAME}.csv") as part, part.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["trial", "state", "value", "validations", *map(csv_cell, keys), "folder"])
            for trial in ranked:
                result = [trial.number, trial.state.name.lower(), trial.value, len(trial.intermediate_values)]
                settings = [_cell(trial.params.get(key)) for key in keys]
                writer.writerow([*result, *settings, _cell(trial.user_attrs.get("folder"))])


def _cell(value: Any) -> Any:
    return csv_cell(value) if isinstance(value, str) else value


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """A lock on the search: a trial that runs in another process looks like an interrupted one."""
    try:
        with locked(folder / f"{NAME}.lock", f"the search in {folder}", wait=False):
            yield
    except LockError as error:
        raise SearchError(f"{error}; wait for it, or choose another with hydra.sweep.dir=...") from error


def finished(study: Study) -> list[FrozenTrial]:
    """Complete trials, the best validation first; equal ones by number."""
    complete = [trial for trial in study.trials if trial.state.name == "COMPLETE"]
    return sorted(complete, key=lambda trial: (-(trial.value or 0.0), trial.number))


def failed(study: Study) -> list[FrozenTrial]:
    """Trials that ended with an error; pruned and interrupted ones are none of them."""
    return [trial for trial in study.trials if trial.state.name == "FAIL" and "folder" in trial.user_attrs]
