"""Starting a command's jobs: errors of the user in one line, and one process per job of a sweep."""

from __future__ import annotations

import functools
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import hydra._internal.utils
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from sage_pl import hardware
from sage_pl.artifacts.files import write_text
from sage_pl.artifacts.identity import flat
from sage_pl.errors import UserError, machine_problem
from sage_pl.escaping import visible
from sage_pl.runs.hints import of_composing
from sage_pl.runs.typed import typed_overrides

log = logging.getLogger(__name__)
FAILURE = "failure.json"  # in the folder of a sweep's job that failed
_WORKER = "SAGE_PL_WORKER"  # in the environment of a job: the process that waits for it
# launchers that start jobs at once on one machine, without a device for each
SIDE_BY_SIDE = ("joblib", "submitit_local")
_OF_SWEEPS = (
    "hydra.mode",
    "hydra.sweep",
    "hydra.run",
    "hydra/launcher",
    "hydra.launcher",
)  # settings that no job reads


class JobError(RuntimeError):
    """One job of a sweep ended with an error.

    Args:
        message: about the job.
        sentence: the last words of its log.
        causes: see :class:`sage_pl.errors.UserError`.
    """

    def __init__(self, message: str, sentence: str = "", causes: Sequence[Sequence[str]] = ()) -> None:
        super().__init__(message)
        self.sentence, self.causes = sentence, causes


class Stopped(SystemExit):
    """A job that ran and ended with an error, which was logged."""


def one_line_errors(job: Callable[[DictConfig], object]) -> Callable[[DictConfig], None]:
    """End with the message of an error of the user and exit code 1; any other error is a bug and keeps its traceback.

    Errors of the user are :class:`sage_pl.errors.UserError`, a missing file that the configuration names, and the machine's:
    full disks, limits, lack of memory (:func:`sage_pl.errors.machine_problem`).
    HYDRA_FULL_ERROR=1 shows where they were raised.
    """

    @functools.wraps(job)
    def reported(config: DictConfig) -> None:
        try:
            job(config)
        except JobError as error:  # Hydra must see it, to go on with the other jobs
            log.error("%s", error)
            raise
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # a panic of polars is no Exception
            cause = error.__cause__ if isinstance(error, InstantiationException) and error.__cause__ else error
            problem = None if isinstance(cause, UserError) else machine_problem(error)
            if os.environ.get("HYDRA_FULL_ERROR") or not (
                isinstance(cause, UserError) or problem or _is_a_named_file(cause, config)
            ):
                log.exception("failed")
                raise
            log.error("%s", problem or cause)
            if isinstance(cause, UserError) and cause.causes and config.get("sweep") is not None:
                _record(cause)
            raise Stopped(1) from error

    return reported


def _record(error: UserError) -> None:
    """Keep what the error of a sweep's job follows from in the folder of the job."""
    with suppress(OSError):
        write_text(Path(HydraConfig.get().runtime.output_dir) / FAILURE, json.dumps({"causes": error.causes}))


def causes_in(folder: Path) -> list[list[str]]:
    """What the error of a job follows from; none where that is unknown."""
    file = folder / FAILURE
    causes: list[list[str]] = json.loads(file.read_text())["causes"] if file.is_file() else []
    return causes


@contextmanager
def errors_in_words(explain: Callable[[Exception], Sequence[str]] = lambda error: ()) -> Iterator[None]:
    """Have Hydra print its own errors as a line or two, without the list of all choices or a trace, and exit with code 1.

    The machine's errors in Hydra's files (``.hydra/``, the log) become one sentence. A failed log prints no trace.
    HYDRA_FULL_ERROR=1 shows what Hydra says.

    Args:
        explain: lines about an error of composing a configuration; none where Hydra's own message stands.
    """
    logging.raiseExceptions = False
    original = hydra._internal.utils.run_and_report

    def run_and_report(func: Any) -> Any:
        def in_words() -> object:
            try:
                return func()
            except Exception as error:
                if os.environ.get("HYDRA_FULL_ERROR"):
                    raise
                problem = machine_problem(error)
                lines = explain(error) if of_composing(error) else [problem] if problem else []
                if not lines:
                    raise
                for line in lines:
                    print(visible(line), file=sys.stderr)
                raise SystemExit(1) from error

        return original(in_words)

    hydra._internal.utils.run_and_report = run_and_report
    try:
        yield
    finally:
        hydra._internal.utils.run_and_report = original


def _is_a_named_file(error: BaseException, config: DictConfig) -> bool:
    """Whether a file is missing that the configuration names."""
    if not isinstance(error, FileNotFoundError) or error.filename is None:
        return False
    values = (value for _, value in flat(OmegaConf.to_container(config, resolve=False)))
    missing = Path(os.fsdecode(error.filename)).resolve()
    return any(isinstance(value, str) and value and Path(value).resolve() == missing for value in values)


def in_own_process(config: DictConfig, program: tuple[str, ...]) -> bool:
    """In a sweep, run this job as a process of its own and wait for it; True if that was done.

    A job then starts with fresh memory and seeds, and one that crashes takes nothing with it. Its working directory is that
    of the command, whichever a launcher's worker has, it ends with the worker, and it is no task of Slurm to Lightning: it
    starts its ranks itself.

    Args:
        config: of the job.
        program: what follows the interpreter's name to start the same command again. It is captured where the command is
            opened, since a worker of submitit or Ray has a program of its own.

    Raises:
        JobError: the job failed; Hydra goes on with the others and reports it at the end.
    """
    hydra = HydraConfig.get()
    if hydra.mode != RunMode.MULTIRUN:
        return False
    settings = [o for o in hydra.overrides.hydra if not o.lstrip("+~").startswith(_OF_SWEEPS)]
    sources = [s.path.removeprefix("file://") for s in hydra.runtime.config_sources if s.provider == "command-line"]
    places = [f"--config-dir={place}" for place in sources]
    folder = Path(hydra.runtime.output_dir)
    single = ["hydra.mode=RUN", f"sweep={quoted(Path(hydra.sweep.dir).name)}", f"hydra.run.dir={quoted(str(folder))}"]
    command = [sys.executable, *program, *places, *typed_overrides(), *settings, *single]
    if not Path(hydra.runtime.cwd).is_dir():
        raise JobError(
            f"job {hydra.job.num} was sent to {socket.gethostname()}, which has no {hydra.runtime.cwd}; the machines of a "
            "launcher need one file system (docs/clusters.md)"
        )
    environment = os.environ | {_WORKER: str(os.getpid())} | _device(config, hydra)
    if "SLURM_NTASKS" in environment:
        environment["SLURM_JOB_NAME"] = "interactive"
    done = subprocess.run(command, check=False, cwd=hydra.runtime.cwd, env=environment)
    if done.returncode:
        file = folder / "train.log"
        sentence = last_line(file)
        raise JobError(
            f"job {hydra.job.num} ({' '.join(typed_overrides())}) ended with exit code {_named(done.returncode)}: "
            f"{sentence}; its log is {file}",
            sentence.replace(str(folder), "FOLDER"),
            causes_in(folder),
        )
    return True


def _device(config: DictConfig, hydra: Any) -> dict[str, str]:
    """The environment in which a job sees one GPU of several, where its launcher starts jobs side by side without choosing.

    Empty where jobs train on processors, or the user names ``trainer.devices``.
    """
    trainer = config.get("trainer") or {}
    if trainer.get("accelerator") not in ("auto", "gpu", "cuda"):
        return {}
    if any(override.lstrip("+").startswith("trainer.devices=") for override in typed_overrides()):
        return {}
    if hydra.runtime.choices.get("hydra/launcher") not in SIDE_BY_SIDE:
        return {}
    return hardware.one_gpu(hydra.job.num, hardware.visible_gpus())


def end_with_worker() -> None:
    """End a sweep's job when the process that started it has ended, since a launcher may start it again elsewhere."""
    worker = os.environ.pop(_WORKER, None)

    def watch() -> None:
        while os.getppid() == int(worker or 0):
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)

    if worker is not None:
        threading.Thread(target=watch, name="worker", daemon=True).start()


def _named(code: int) -> str:
    """An exit code with the name of the signal behind a negative one."""
    try:
        name = signal.Signals(-code).name
    except ValueError:
        return str(code)
    about = {"SIGBUS": ", a mapped file was cut or its disk failed", "SIGKILL": ", perhaps for lack of memory"}
    return f"{code} ({name}{about.get(name, '')})"


def quoted(text: str) -> str:
    r"""A text as the value of an override: Hydra's escapes are those before a quote.

    >>> quoted(r"a\b's")
    "'a\\b\\'s'"
    """
    escaped = re.sub(r"(\\*)('|$)", lambda m: 2 * m[1] + m[2].replace("'", "\\'"), text)
    return f"'{escaped}'"


def last_line(file: Path) -> str:
    """The last words of a log."""
    lines = file.read_text().split("\n") if file.is_file() else []
    return next((line for line in reversed(lines) if line.strip()), "it logged nothing").strip()
