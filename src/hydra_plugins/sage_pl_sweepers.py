"""Sweepers of ``train.py``: Hydra's grid with a comparison at the end, and a search with Optuna.

Hydra accepts sweepers from this namespace only; their work is in :mod:`sage_pl.runs.sweeps` and :mod:`sage_pl.runs.search`.
"""

from __future__ import annotations

import glob
import logging
import os
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from omegaconf import OmegaConf, open_dict

from sage_pl.artifacts.locks import locked
from sage_pl.artifacts.plain import read_json
from sage_pl.ranges import Count, Natural
from sage_pl.runs import search, sweeps
from sage_pl.runs.folders import METRICS, job_folder
from sage_pl.runs.launch import JobError, Stopped, quoted
from sage_pl.runs.numbers import setting_problems

if TYPE_CHECKING:
    from optuna import Study, Trial

log = logging.getLogger(__name__)
SEARCH = {"trials": Count, "startup": Natural, "warmup": Natural, "parallel": Count}


class _Sweeper(BasicSweeper):
    config: Any  # Hydra sets these three before a sweep
    launcher: Any
    hydra_context: Any

    @property
    def folder(self) -> Path:
        return Path(self.config.hydra.sweep.dir).absolute()

    def parse(self, arguments: list[str]) -> list[Override]:
        """The experiment's parameters and the command line, which has precedence."""
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        overrides = parser.parse_overrides([*(f"{key}={value}" for key, value in self.params.items()), *arguments])
        return list({override.get_key_element(): override for override in overrides}.values())

    def launch(self, jobs: Sequence[Sequence[str]], first: int) -> list[tuple[Path, JobReturn | None]]:
        """Hand jobs to the launcher, and wait for them.

        Args:
            jobs: overrides of each.
            first: number of the first one.

        Returns:
            Folder and result of each. Where a worker ended without returning any, launchers give up the whole batch: no job
            has a result then, and those that still run are waited for.
        """
        place = f"hydra.sweep.dir={quoted(str(self.folder))}"  # whatever a worker's directory and a job's values are
        jobs = [[*job, place] for job in jobs]
        try:
            return [(_folder(job), job) for job in self.launcher.launch(jobs, initial_job_idx=first)]
        except Exception as error:
            if isinstance(error, HydraException) or os.environ.get("HYDRA_FULL_ERROR"):
                raise
            log.error("%s ended without the results of its jobs: %s", type(self.launcher).__name__, error)
            folders = [self._place(job, number) for number, job in enumerate(jobs, first)]
            for folder in folders:
                with locked(folder / ".lock", f"the job {folder.name}"):
                    pass
            return [(folder, None) for folder in folders]

    def composed(self, job: Sequence[str]) -> Any:
        """The configuration of a job."""
        return self.hydra_context.config_loader.load_sweep_config(self.config, list(job))

    def _place(self, job: Sequence[str], number: int) -> Path:
        """The folder of a job that returned nothing."""
        config = self.composed(job)
        with open_dict(config):
            config.hydra.job.num = number
        return job_folder(config)

    def options(self) -> dict[str, str | None]:
        """Report and record of the comparison, as those of the runs."""
        return {"report": self.config.report, "wandb": OmegaConf.select(self.config, "logger.wandb.project")}


class Grid(_Sweeper):
    """All combinations of values, compared at the end, also after a failure.

    Jobs begin one after the other, so that those which would repeat a failure are left out
    (:class:`sage_pl.runs.sweeps.Failures`). Another launcher than Hydra's own gets them in batches; where one of its workers
    ends without a result, the jobs of the batch that have written their metrics are compared.
    """

    def sweep(self, arguments: list[str]) -> Any:
        overrides = self.parse(arguments)
        self.folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.config, self.folder / "multirun.yaml")
        batches = self.split_arguments(overrides, self.max_batch_size)
        for batch in batches:
            self.validate_batch_is_legal(batch)
        jobs: list[tuple[Path, JobReturn | None]] = []
        interrupted = False
        try:
            if type(self.launcher) is BasicLauncher:
                self._one_by_one([job for batch in batches for job in batch], jobs)
            else:
                for batch in batches:
                    jobs.extend(self.launch(batch, len(jobs)))
        except KeyboardInterrupt:
            interrupted = True
            log.warning(
                "interrupted; the jobs that ended are compared, and the same command with hydra.sweep.dir=%s goes on",
                quoted(str(self.folder)),
            )
        ended = {folder: _succeeded(folder, job) for folder, job in jobs}
        sweeps.compare_jobs(self.folder, ended, sweeps.variations(overrides), self.options())
        from sage_pl.report import index  # not by every command that looks for plugins

        index.refresh(self.config.paths.outputs)
        total = sum(map(len, batches))
        if failed := total - sum(ended.values()):
            log.error("%d of %d jobs have no results", failed, total)
            raise Stopped(130 if interrupted else 1)
        return [[job for _, job in jobs]]

    def _one_by_one(self, todo: list[list[str]], jobs: list[tuple[Path, JobReturn | None]]) -> None:
        """Launch jobs, and add each to ``jobs`` when it has ended."""
        failures, seconds = sweeps.Failures(self._part), list[float]()
        for number, job in enumerate(todo):
            if reason := failures.expected(job):
                log.warning(
                    "job %d of %d is left out, since it would fail as others did: %s", number + 1, len(todo), reason
                )
                continue
            log.info(sweeps.progress(number + 1, len(todo), seconds))
            start = time.monotonic()
            ((folder, result),) = self.launch([job], number)
            jobs.append((folder, result))
            if _succeeded(folder, result):
                seconds.append(time.monotonic() - start)
            elif result is not None:
                failures.add(job, *_reason(result))

    def _part(self, job: Sequence[str], name: str) -> Any:
        """A part of the configuration of a job."""
        config = self.composed(job)
        with open_dict(config):
            del config["hydra"]
        return sweeps.part_of(config, name)


class Search(_Sweeper):
    """``search.trials`` runs that search for the best validation; see :mod:`sage_pl.runs.search`.

    At the end the best trial is compared with the first, which has the configuration's own values.
    """

    def sweep(self, arguments: list[str]) -> None:
        if problems := setting_problems(
            SEARCH, {str(key): value for key, value in self.config.search.items() if key in SEARCH}, "search"
        ):
            raise search.SearchError("; ".join(problems))
        settings = self.config.search
        if settings.parallel > 1 and type(self.launcher) is BasicLauncher:
            raise search.SearchError(
                f"search.parallel is {settings.parallel}, but Hydra's own launcher runs one job at a time; choose another with "
                "hydra/launcher=joblib (docs/clusters.md)"
            )
        overrides = self.parse(arguments)
        space = {override.get_key_element(): override for override in overrides if override.is_sweep_override()}
        common = [str(override.input_line) for override in overrides if not override.is_sweep_override()]
        choices = self.config.hydra.runtime.choices
        study = search.Search(
            folder=self.folder,
            space=space,
            settings=[text for text in common if not text.startswith(("search.", "logger", "paths."))],
            defaults={key: choices.get(key, OmegaConf.select(self.config, key)) for key in space},
            startup=settings.startup,
            seed=self.config.seed,
            parallel=settings.parallel,
            shared=settings.storage,
        ).run(settings.trials, partial(self._trials, common))
        if not search.finished(study):
            raise search.SearchError(
                f"all {len(study.trials)} trials run in other searches; repeat the command once they have ended, or raise "
                "search.trials"
            )
        self._conclude(study)

    def _conclude(self, study: Study) -> None:
        """The best trial in words, and beside the first; those of other machines have no folder here."""
        monitor = self.config.callbacks.pruning.monitor
        best, errors = search.finished(study)[0], search.failed(study)
        first = min(search.finished(study), key=lambda trial: trial.number)
        log.info("%s %.4f in trial %d, %.4f in the first", monitor, best.value, best.number, first.value)
        metrics = Path(best.user_attrs["folder"]) / METRICS
        if metrics.is_file() and read_json(metrics).get("converged") == 0:
            log.warning("trial %d is not converged: its best epoch is the last; raise trainer.max_epochs", best.number)
        log.info("the best settings: %s", " ".join(f"{key}={value}" for key, value in best.params.items()))
        log.info("all %d trials: %s", len(study.trials), self.folder / f"{search.NAME}.csv")
        folders = [Path(trial.user_attrs["folder"]) for trial in (first, best, *errors)]
        for folder in (folder for folder in folders if not folder.is_dir()):
            log.warning("%s is on another machine, so it is not compared", folder)
        here = [glob.escape(str(folder)) for folder in folders if folder.is_dir()]
        if here:
            baseline = str(first.number) if folders[0].is_dir() else "null"
            sweeps.run_comparison(self.folder, here, ["callbacks.pruning.trial"], baseline, self.options())
        if errors:
            n_trials = len(study.trials)
            raise search.SearchError(f"{len(errors)} of {n_trials} trials failed; they are named in the comparison")

    def _trials(self, common: list[str], trials: Sequence[Trial]) -> list[tuple[bool, Path]]:
        """Trials as jobs: whether each succeeded, and its folder."""
        address = self.config.search.storage or search.storage(self.folder)
        jobs = []
        for trial in trials:
            study = {"storage": quoted(address), "study": search.NAME, "trial": trial.number}
            pruning = [f"callbacks.pruning.{key}={value}" for key, value in study.items()]
            jobs.append([*common, *(f"{key}={value}" for key, value in trial.params.items()), *pruning])
        return [(_succeeded(folder, job), folder) for folder, job in self.launch(jobs, trials[0].number)]


def _folder(job: JobReturn) -> Path:
    config: Any = job.hydra_cfg
    return Path(config.hydra.runtime.output_dir)


def _succeeded(folder: Path, job: JobReturn | None) -> bool:
    """Whether a job has results; one that returned nothing may have written them before its worker ended."""
    return (folder / METRICS).is_file() if job is None else job.status == JobStatus.COMPLETED


def _reason(job: JobReturn) -> tuple[str, Sequence[Sequence[str]]]:
    """The last words of a failed job, and what its failure follows from."""
    try:
        return str(job.return_value), ()
    except JobError as error:
        return error.sentence, error.causes
    except Exception as error:  # noqa: BLE001 - Hydra raises again whatever a job raised
        return str(error), ()
