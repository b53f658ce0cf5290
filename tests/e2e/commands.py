"""The commands as processes."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent

# A process that has loaded the libraries once, and is copied for every command: seconds less for each of them.
_LOADED = multiprocessing.get_context("forkserver")
_LOADED.set_forkserver_preload(
    [f"sage_pl.commands.{name}" for name in ("train", "prepare", "evaluate", "recommend", "export")]
)


def command(script: str, *arguments: str) -> list[str]:
    return [sys.executable, str(ROOT / script), *arguments]


def call(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command from its first line to its end, imports included."""
    return subprocess.run(command(script, *arguments), capture_output=True, text=True, timeout=300, check=False)


def call_loaded(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The same in a copy of a process that has the libraries; both streams are in ``stdout``."""
    with tempfile.NamedTemporaryFile("r", suffix=".log") as output:
        process = _LOADED.Process(target=_command, args=(str(ROOT / script), arguments, output.name))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            process.start()
        process.join(300)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired([script, *arguments], 300)
        return subprocess.CompletedProcess([script, *arguments], process.exitcode, output.read(), "")


def _command(script: str, arguments: tuple[str, ...], output: str) -> None:
    file = os.open(output, os.O_WRONLY | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(file, stream)
    sys.argv = [script, *arguments]
    runpy.run_path(script, run_name="__main__")
