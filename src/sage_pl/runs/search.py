"""A search with Optuna: settings depend on earlier results, and the study can be continued and shared."""

from __future__ import annotations

import csv
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep, Transformer
from hydra.errors import CompactHydraException

from sage_pl.artifacts.files import whole_file
from sage_pl.artifacts.locks import LockError, locked
from sage_pl.escaping import csv_cell
from sage_pl.runs.study import alive, check_address, cut_off
from sage_pl.runs.sweeps import progress

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

log = logging.getLogger(__name__)
NAME = "search"  # of the study in its file
Run = Callable[[Sequence["Trial"]], Sequence[tuple[bool, Path]]]


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
    """A study: asks for ``parallel`` trials at once, reports each to Optuna and writes ``search.csv``.

    The first trial has the configuration's own values of the searched keys; the others' values are a function of the seed
    and the earlier trials. An interrupted trial is repeated when the search continues. The value of a trial is its best
    validation, as reported by :class:`sage_pl.training.callbacks.pruning.Pruning`.

    Searches on several machines may share a study. Each then shows that its trials still run, and repeats those of one that
    has ended (:mod:`sage_pl.runs.study`).

    Args:
        folder: of the search.
        space: searched key -> distribution of its values.
        settings: all other settings of the trials.
        defaults: searched key -> the configuration's own value.
        startup: random trials before Optuna's TPE chooses.
        seed: of the draws.
        parallel: trials that run at once.
        shared: address of a shared study; None for ``search.db`` in the folder.

    Raises:
        SettingError: the address holds a password.
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
        parallel: int = 1,
        shared: str | None = None,
    ) -> None:
        try:
            import optuna
        except ModuleNotFoundError as error:
            raise SearchError("a search needs the package optuna: pip install 'sage-pl[search]'") from error
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        check_address(shared or "")
        self.folder, self.startup, self.seed, self.defaults = folder, startup, seed, dict(defaults)
        self.parallel, self.shared = parallel, shared is not None
        self.address = shared or storage(folder)
        self.space = {key: distribution(override) for key, override in space.items()}
        self.about = {key: str(values) for key, values in self.space.items()}
        self.about["all trials"] = " ".join(sorted(settings))

    def run(self, trials: int, run: Run) -> Study:
        """Run trials until the study has ``trials``, those of earlier calls and of other searches included.

        Args:
            trials: number of trials.
            run: runs trials; returns of each whether it finished, and its folder.
        """
        import optuna

        from sage_pl.training.callbacks.pruning import open_storage  # with torch, which a search alone needs

        with _locked(self.folder):
            study = optuna.create_study(
                storage=open_storage(self.address), study_name=NAME, direction="maximize", load_if_exists=True
            )
            self._check(study)
            self._queue(study)
            while batch := self._ask(study, trials):
                with alive(batch) if self.shared else nullcontext():
                    results = run(batch)
                for trial, (success, folder) in zip(batch, results, strict=True):
                    self._tell(study, trial, success, folder)
                self._write(study)
                if not finished(study):
                    raise SearchError(f"no trial has finished yet, so the search ends; the log is {folder}/train.log")
        return study

    def _ask(self, study: Study, trials: int) -> list[Trial]:
        """The next trials; none where as many as wanted have ended or run."""
        import optuna

        if self.shared:
            self._repeat(study, cut_off(study))
        begun = [trial for trial in study.trials if trial.state.name != "WAITING"]
        ended = [trial.duration for trial in begun if trial.state.name in ("COMPLETE", "PRUNED")]
        seconds = [duration.total_seconds() / self.parallel for duration in ended if duration is not None]
        batch = []
        for number in range(len(begun), min(len(begun) + self.parallel, trials)):
            seed = self.seed + len(study.trials)
            study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=self.startup)
            batch.append(study.ask(self.space))
            log.info("trial %d: %s", batch[-1].number, progress(number + 1, trials, seconds))
        return batch

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

        running = study.get_trials(states=(TrialState.RUNNING,))
        if not (running or finished(study)):
            study.enqueue_trial({key: self.defaults[key] for key in self.space if self._contains_default(key)})
        self._repeat(study, cut_off(study) if self.shared else running)

    def _repeat(self, study: Study, interrupted: Sequence[FrozenTrial]) -> None:
        from optuna.trial import TrialState

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

    def _tell(self, study: Study, asked: Trial, success: bool, folder: Path) -> None:
        from optuna.trial import TrialState

        if study.trials[asked.number].state.is_finished():
            log.warning("trial %d is repeated by another search, which had no sign of this one", asked.number)
            return
        asked.set_user_attr("folder", str(folder))
        trial = study.trials[asked.number]
        if success:
            study.tell(asked, max(trial.intermediate_values.values()))
        else:
            study.tell(asked, state=TrialState.PRUNED if "pruned" in trial.user_attrs else TrialState.FAIL)

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
