"""The command that comes next, for the last line of a command. How this one was started decides how it is written."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from sage_pl.artifacts.store import Artifact
from sage_pl.report import labels
from sage_pl.runs.launch import quoted


def recommending(checkpoint: str | Path, sequences: Artifact) -> str:
    """Recommend for the first user of the data that a checkpoint was trained with."""
    user = str(sequences.frame("users")["user_id"][0])
    return _command("recommend", [f"checkpoint={_value(labels.near(checkpoint))}", f"users=[{_value(user)}]", "k=10"])


def training(overrides: Sequence[str]) -> str:
    """Train on what was prepared with the same settings."""
    return _command("train", [one for one in overrides if not one.startswith("wanted=")])


def _value(value: str | Path) -> str:
    """A value of an override, in Hydra's quotes where it needs some."""
    text = str(value)
    return text if text and all(one.isalnum() or one in "_-./:" for one in text) else quoted(text)


def _command(name: str, arguments: Sequence[str]) -> str:
    script = "train.py" if name == "train" else f"scripts/{name}.py"
    program = ["python", script] if Path(sys.argv[0]).suffix == ".py" else ["sage-pl", name]
    return " ".join([*program, *map(shlex.quote, arguments)])
