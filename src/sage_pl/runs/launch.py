"""Starting a command: hints for mistyped keys, and one process per job of a sweep."""

from __future__ import annotations

import functools
import logging
import os
import re
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig

from sage_pl.runs.checks import known_keys, suggest

log = logging.getLogger(__name__)
_OVERRIDE = re.compile(r"^[+~]{0,2}([\w./@-]+)=?")


class JobError(RuntimeError):
    """One job of a sweep ended with an error."""


class Stopped(SystemExit):
    """A job that ran and ended with an error, which was told."""


def run(job: Callable[[], None], config_dir: Path, config_name: str) -> None:
    """Run a Hydra job; where composing its configuration failed, add what the mistyped key probably was.

    Args:
        job: the function decorated with ``hydra.main``.
        config_dir, config_name: what it composes.
    """
    try:
        job()
    except SystemExit as stop:
        if stop.code not in (0, None) and not isinstance(stop, Stopped) and not HydraConfig.initialized():
            for line in _hints(sys.argv[1:], config_dir, config_name):
                print(line, file=sys.stderr)
        raise


def one_line_errors(job: Callable[[DictConfig], None]) -> Callable[[DictConfig], None]:
    """End with the message of an error the user can act on, and exit code 1, instead of a traceback.

    Those are the package's own exceptions, the ValueErrors it raises, and missing files. HYDRA_FULL_ERROR=1 shows where
    they were raised.
    """

    @functools.wraps(job)
    def reported(config: DictConfig) -> None:
        try:
            job(config)
        except JobError as error:  # Hydra must see it, to go on with the other jobs
            log.error("%s", error)
            raise
        except Exception as error:
            cause = error.__cause__ if isinstance(error, InstantiationException) and error.__cause__ else error
            if not _ours(cause) or os.environ.get("HYDRA_FULL_ERROR"):
                log.exception("failed")
                raise
            log.error("%s", cause)
            raise Stopped(1) from error

    return reported


def _ours(error: BaseException) -> bool:
    """Whether the package raised the error on purpose, with a message for the user."""
    if type(error).__module__.startswith("sage_pl") or isinstance(error, FileNotFoundError):
        return True
    innermost = traceback.extract_tb(error.__traceback__)[-1].filename if error.__traceback__ else ""
    return isinstance(error, ValueError) and Path(innermost).is_relative_to(Path(__file__).parent)


def _hints(arguments: list[str], config_dir: Path, config_name: str) -> list[str]:
    """One line for every override whose key is unknown, or whose choice stands in a folder of its group."""
    keys = [m.group(1) for a in arguments if "=" in a and not a.startswith("-") and (m := _OVERRIDE.match(a))]
    groups = [str(p.relative_to(config_dir)) for p in config_dir.rglob("*") if p.is_dir()]
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(config_dir), version_base="1.3"):
            choices = [a for a in arguments if a.partition("=")[0] in groups and "," not in a]
            known = known_keys(compose(config_name, overrides=choices))
    except HydraException:
        return _moved(arguments, config_dir)  # Hydra's own message lists the choices that a group has itself
    known += groups
    unknown = [key for key in keys if key.partition("@")[0] not in known and not key.startswith("hydra.")]
    return [f"{key}: no such key; {hint}" for key in unknown if (hint := suggest(key, known))]


def _moved(arguments: list[str], config_dir: Path) -> list[str]:
    """For every choice that only folders of its group have, such as ``without=prototype``, those choices."""
    hints = []
    for group, _, choice in (argument.partition("=") for argument in arguments):
        files = sorted((config_dir / group).glob("*/*.yaml")) if choice else []
        if names := [f"{group}={file.parent.name}/{choice}" for file in files if file.stem == choice]:
            hints.append(f"{group}={choice}: no such choice; did you mean {' or '.join(names)}?")
    return hints


def in_own_process(config: DictConfig) -> bool:
    """In a sweep, run this job as a process of its own and wait for it; True if that was done.

    A job then starts with fresh memory and seeds, and one that crashes takes nothing with it.

    Raises:
        JobError: the job failed; Hydra goes on with the others and reports it at the end.
    """
    hydra = HydraConfig.get()
    if hydra.mode != RunMode.MULTIRUN:
        return False
    own = [o for o in hydra.overrides.hydra if not o.startswith(("hydra.mode", "hydra.sweep", "hydra.run"))]
    more = [s.path.removeprefix("file://") for s in hydra.runtime.config_sources if s.provider == "command-line"]
    places = [f"--config-dir={place}" for place in more]
    folder = Path(hydra.runtime.output_dir)
    alone = ["hydra.mode=RUN", f"sweep='{Path(hydra.sweep.dir).name}'", f"hydra.run.dir='{folder}'"]
    command = [sys.executable, sys.argv[0], *places, *hydra.overrides.task, *own, *alone]
    done = subprocess.run(command, check=False)
    if done.returncode:
        raise JobError(
            f"job {hydra.job.num} ({' '.join(hydra.overrides.task)}) ended with exit code {done.returncode}: "
            f"{last_line(folder / 'train.log')}; its log is {folder / 'train.log'}"
        )
    return True


def last_line(file: Path) -> str:
    """The last words of a log."""
    lines = file.read_text().split("\n") if file.is_file() else []
    return next((line for line in reversed(lines) if line.strip()), "it logged nothing").strip()
