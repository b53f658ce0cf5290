"""The sides of the comparison: which there are, the environment of each, and a process that works when it is its turn."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from exchange import IntArray

HERE = Path(__file__).parent
ENVIRONMENTS = HERE.parent.parent / ".venv-peers"
MODELS = ("sasrec", "bert4rec", "gru4rec")


class SideError(RuntimeError):
    """A side cannot be measured; the message is its last word."""


class Side(NamedTuple):
    """One library's way of training one model.

    ``pace`` is how many times more steps than the slowest side it is given in a round of limited steps.
    """

    name: str
    library: str
    model: str
    loss: str
    form: str = "default"
    pace: int = 1


CE = "softmax over the catalogue"
SIDES = (
    Side("ours", "ours", "sasrec", f"{CE}, at labels", pace=10),
    Side("ours", "ours", "bert4rec", f"{CE}, at masks, and at a masked last item", pace=10),
    Side("ours", "ours", "gru4rec", f"{CE}, at labels", pace=10),
    Side("RecTools", "rectools", "sasrec", f"{CE}, at all positions"),
    Side("RecTools", "rectools", "bert4rec", f"{CE}, at all positions"),
    Side("RePlay", "replay", "sasrec", f"{CE}, at all positions"),
    Side("RePlay, trimmed", "replay", "sasrec", f"{CE} (LogInCE), at labels", "trimmed", pace=4),
    Side("RePlay", "replay", "bert4rec", f"{CE}, at all positions"),
    Side("RecBole", "recbole", "sasrec", f"{CE}, one label a prefix"),
    Side("RecBole", "recbole", "bert4rec", f"{CE}, at masks of every prefix"),
    Side("RecBole", "recbole", "gru4rec", f"{CE}, one label a prefix"),
)
ABSENT = (
    ("RecTools", "gru4rec", "the library has no GRU4Rec"),
    ("RePlay", "gru4rec", "the library has no GRU4Rec"),
)


def python(library: str) -> str:
    """The interpreter of a library's environment, which is made if it is missing or its requirements have changed.

    Raises:
        SideError: the library cannot be installed.
    """
    if library == "ours":
        return sys.executable
    wanted, folder = HERE / "requirements" / f"{library}.txt", ENVIRONMENTS / library
    key, marker = hashlib.sha256(wanted.read_bytes()).hexdigest(), folder / "installed"
    interpreter = str(folder / "bin" / "python")
    if marker.is_file() and marker.read_text() == key:
        return interpreter
    print(f"installing {library} into {folder.relative_to(HERE.parent.parent)}", flush=True)
    for command in (
        [sys.executable, "-m", "venv", "--clear", str(folder)],
        [interpreter, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement", str(wanted)],
    ):
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode:
            raise SideError(f"cannot be installed: {_last_line(done.stdout)}")
    marker.write_text(key)
    return interpreter


class Contestant:
    """A side's process: it loads, then works for one round whenever :meth:`turn` says so.

    Libraries work in ``folder``, since they write logs where they are; our side stays here, since its paths may be relative.

    Args:
        side: which.
        settings: of the comparison; its folder gets ``settings.json``, ``log.txt`` and the results.
        folder: of this side, empty.

    Raises:
        SideError: the library cannot be installed.
    """

    def __init__(self, side: Side, settings: dict[str, Any], folder: Path) -> None:
        folder.mkdir(parents=True)
        self.side = side
        self.folder = folder
        limit = settings["limit"] and settings["limit"] * side.pace
        file = folder / "settings.json"
        own = {"folder": str(folder), "model": side.model, "form": side.form, "limit": limit}
        file.write_text(json.dumps({**settings, **own}))
        threads = str(settings["threads"])
        self._log: IO[str] = (folder / "log.txt").open("w+")
        self._process = subprocess.Popen(
            [python(side.library), str(HERE / f"train_{side.library}.py"), str(file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            cwd=folder if side.library != "ours" else None,
            env={**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "CUDA_VISIBLE_DEVICES": ""},
        )

    def wait_until_ready(self) -> None:
        """Blocks until it waits for its turn."""
        self._until("ready")

    def turn(self, kind: str) -> None:
        """One round, until it waits for the next one or has ended."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write("\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it has died; what it said last is told by the next line
        self._until(kind)
        self._until("ready", or_end=True)

    def results(self) -> tuple[dict[str, Any], IntArray]:
        """What it measured, and its lists."""
        if self._process.wait():
            raise SideError(self._last_word())
        return json.loads((self.folder / "result.json").read_text()), np.load(self.folder / "top.npy")

    def stop(self) -> None:
        """Ends it, whatever it does."""
        self._process.kill()
        self._process.wait()
        self._log.close()

    def _until(self, kind: str, or_end: bool = False) -> None:
        assert self._process.stdout is not None
        said = any(line.startswith(f"@ {kind}") for line in self._process.stdout)
        if not (said or or_end):
            raise SideError(self._last_word())

    def _last_word(self) -> str:
        self._log.seek(0)
        return f"failed: {_last_line(self._log.read())}"


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "without a word"
