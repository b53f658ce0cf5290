"""Output folders: each belongs to one living process, and a command that fails leaves no results of an earlier one there."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from sage_pl.artifacts.locks import LockError, locked
from sage_pl.comparison.runs import EVALUATION
from sage_pl.errors import SettingError, UserError
from sage_pl.runs.launch import FAILURE, Stopped

CHECKPOINTS, TABLE = "checkpoints", "metrics.csv"  # what a continued run goes on with
METRICS = "metrics.json"
EVALUATED = (METRICS, "ranks.parquet", "recommended.npy", EVALUATION)
_TRAINED = (*EVALUATED, "report.html", "footprint.json", "config.yaml", "hparams.yaml", FAILURE)
_COMPARED = ("report.html", *(f"comparison.{ending}" for ending in ("md", "tex", "csv", "json")))


class OwnFolder(Callback):
    """Hydra's callback that takes the folder of a command before anything is written into it.

    A folder named by the time is created, or another name is taken. A folder with a fixed name may exist: it is refused while a
    living process works in it, and otherwise the results of the earlier command are removed.

    Raises:
        Stopped: the folder is in use or cannot be made; the message says why.
    """

    results: ClassVar[tuple[str, ...]] = ()  # files that the command writes

    def __init__(self) -> None:
        self._locks = ExitStack()

    def __reduce__(self) -> tuple[type[OwnFolder], tuple[()]]:
        """A copy for the worker of a launcher: the locks stay with the process that holds them."""
        return type(self), ()

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        self._take(config, "hydra.run.dir")

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        self._take(config, "hydra.sweep.dir")

    def on_run_end(self, config: DictConfig, **kwargs: Any) -> None:
        self._locks.close()

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        self._locks.close()

    def clear(self, folder: Path, config: DictConfig) -> None:
        """Remove the earlier command's results."""
        remove(folder, self.results)

    def _take(self, config: DictConfig, key: str) -> None:
        try:
            folder = new_folder(config, key)
            self._locks.enter_context(locked(folder / ".lock", f"the folder {folder}", wait=False))
            if key == "hydra.run.dir":
                self.clear(folder, config)
            else:
                remove(folder / "comparison", _COMPARED)
        except LockError as error:
            raise Stopped(f"{error}; wait for it, or choose another folder with {key}=...") from None
        except UserError as error:
            raise Stopped(str(error)) from None
        except OSError as error:
            raise Stopped(f"no folder can be made for this command: {error}; choose one with {key}=...") from None


class RunFolder(OwnFolder):
    """The folder of a run; one that a run continues in keeps its table of epochs.

    A job of a grid keeps what an earlier pass of its sweep left until it is known to be of other settings or data.
    """

    results = _TRAINED

    def clear(self, folder: Path, config: DictConfig) -> None:
        if keeps_earlier_pass(config):
            remove(folder, [FAILURE])
        else:
            clear_run(folder, config.get("resume"))


class EvaluationFolder(OwnFolder):
    """The folder of an evaluation; a run's own is refused, since its results would then be of another configuration."""

    results = EVALUATED

    def clear(self, folder: Path, config: DictConfig) -> None:
        if (folder / "config.yaml").is_file():
            raise SettingError(
                f"{folder} is the folder of a run, whose results an evaluation would replace; choose another with "
                f"hydra.run.dir=..., or test that run again with its own command and resume={folder}/checkpoints/last.ckpt"
            )
        super().clear(folder, config)


class ComparisonFolder(OwnFolder):
    """The folder of a comparison."""

    results = _COMPARED


def new_folder(config: DictConfig, key: str) -> Path:
    """The folder that a configuration names, made.

    A name that holds the time is resolved again until it is a new one; a fixed name may exist.
    """
    before = None
    while True:
        folder = Path(_resolved(config, key)).absolute()
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            if not folder.is_dir():
                raise
            if folder == before:
                return folder
            before = folder
            OmegaConf.clear_cache(config)  # the time is resolved once and then remembered
        else:
            return folder


def job_folder(config: DictConfig) -> Path:
    """The folder of a sweep's job."""
    return Path(_resolved(config, "hydra.sweep.dir"), _resolved(config, "hydra.sweep.subdir")).absolute()


def _resolved(config: DictConfig, key: str) -> str:
    hydra = HydraConfig.instance()
    earlier = hydra.cfg
    hydra.set_config(config)
    try:
        return str(OmegaConf.select(config, key))
    finally:
        hydra.cfg = earlier


def keeps_earlier_pass(config: DictConfig) -> bool:
    """Whether a run is a job of a grid, which goes on with what an earlier pass left in its folder.

    One that resumes or refits a named run does not, nor does a trial of a search, whose study has a memory of its own.
    """
    named = config.get("resume") or config.get("refit")
    return config.get("sweep") is not None and named is None and "pruning" not in (config.get("callbacks") or {})


def continues_in(folder: Path, resume: str | None) -> bool:
    """Whether a run goes on in the folder of the checkpoint that it resumes."""
    return resume is not None and Path(resume).resolve().is_relative_to(folder.resolve())


def clear_run(folder: Path, resume: str | None) -> None:
    """Remove the results of an earlier run in a folder, and its table of epochs unless the run goes on there."""
    remove(folder, _TRAINED if continues_in(folder, resume) else (*_TRAINED, TABLE))


def clear_failed(folder: Path) -> None:
    """Remove an earlier pass's results where a job of a sweep fails; its checkpoints and settings stay for the next pass."""
    remove(folder, (*EVALUATED, "report.html"))


def remove(folder: Path, names: Iterable[str]) -> None:
    """Delete files of a folder that exist."""
    for name in names:
        (folder / name).unlink(missing_ok=True)
