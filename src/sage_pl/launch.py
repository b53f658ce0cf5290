"""Starting a command: hints for mistyped keys, and one process per job of a sweep."""

from __future__ import annotations

import functools
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig

from sage_pl.config import known_keys, suggest

log = logging.getLogger(__name__)
_OVERRIDE = re.compile(r"^[+~]{0,2}([\w./@-]+)=?")


def run(job: Callable[[], None], config_dir: Path, config_name: str) -> None:
    """Run a Hydra job; where composing its configuration failed, add what the mistyped key probably was.

    Args:
        job: the function decorated with ``hydra.main``.
        config_dir, config_name: what it composes.
    """
    try:
        job()
    except SystemExit as stop:
        if stop.code not in (0, None) and not HydraConfig.initialized():
            for line in _hints(sys.argv[1:], config_dir, config_name):
                print(line, file=sys.stderr)
        raise


def one_line_errors(job: Callable[[DictConfig], None]) -> Callable[[DictConfig], None]:
    """End with the message of an error the user can act on, and exit code 1, instead of a traceback.

    Those are the package's own exceptions and missing files. HYDRA_FULL_ERROR=1 shows where they were raised.
    """

    @functools.wraps(job)
    def reported(config: DictConfig) -> None:
        try:
            job(config)
        except Exception as error:
            ours = type(error).__module__.startswith("sage_pl") or isinstance(error, FileNotFoundError)
            if not ours or os.environ.get("HYDRA_FULL_ERROR"):
                log.exception("failed")
                raise
            log.error("%s", error)
            sys.exit(1)

    return reported


def _hints(arguments: list[str], config_dir: Path, config_name: str) -> list[str]:
    """One line for every override whose key the configuration does not know."""
    keys = [m.group(1) for a in arguments if "=" in a and not a.startswith("-") and (m := _OVERRIDE.match(a))]
    groups = [str(p.relative_to(config_dir)) for p in config_dir.rglob("*") if p.is_dir()]
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(config_dir), version_base="1.3"):
            known = known_keys(compose(config_name))
    except HydraException:
        return []
    known += groups
    return [f"{key}: no such key; {hint}" for key in keys if key not in known and (hint := suggest(key, known))]


def in_own_process(config: DictConfig) -> bool:
    """In a sweep, run this job as a process of its own and wait for it; True if that was done.

    A job then starts with fresh memory and seeds, and one that crashes takes nothing with it.

    Raises:
        RuntimeError: the job failed; Hydra goes on with the others and reports it at the end.
    """
    hydra = HydraConfig.get()
    if hydra.mode != RunMode.MULTIRUN:
        return False
    # fmt: off
    command = [
        sys.executable, sys.argv[0], *hydra.overrides.task,
        f"hydra.run.dir='{hydra.runtime.output_dir}'",
    ]
    # fmt: on
    done = subprocess.run(command, check=False)
    if done.returncode:
        raise RuntimeError(
            f"job {hydra.job.num} ({' '.join(hydra.overrides.task)}) failed with exit code {done.returncode}; "
            f"its log is {Path(hydra.runtime.output_dir) / 'train.log'}"
        )
    return True
