"""Commands of a page of the documentation, run in a folder of its own."""

from __future__ import annotations

import runpy
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[[str], str]:
    """A block's commands in an empty folder, each in this process; returns what they print.

    ``NAME=value`` before a command sets a variable of the environment.
    """
    monkeypatch.chdir(tmp_path)

    def run(block: str) -> str:
        capsys.readouterr()
        for line in block.replace("\\\n", " ").strip().splitlines():
            words = shlex.split(line)
            while "=" in words[0]:
                name, _, value = words.pop(0).partition("=")
                monkeypatch.setenv(name, value)
                if name == "PYTHONPATH":
                    monkeypatch.syspath_prepend(value)
            program, script, *arguments = words
            assert program == "python"
            monkeypatch.setattr("sys.argv", [script, *arguments])
            runpy.run_path(str(ROOT / script), run_name="__main__")
        return capsys.readouterr().out

    return run
