"""The command that a command ends with."""

from __future__ import annotations

import sys

import polars as pl
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from sage_pl.artifacts.store import Artifact
from sage_pl.commands import following


@pytest.mark.parametrize(
    ("program", "user", "line"),
    [
        ("train.py", "7", "python scripts/recommend.py checkpoint=a/best.ckpt 'users=[7]' k=10"),
        ("/bin/sage-pl train", "ana", "sage-pl recommend checkpoint=a/best.ckpt 'users=[ana]' k=10"),
        ("/x/__main__.py train", "ana", "sage-pl recommend checkpoint=a/best.ckpt 'users=[ana]' k=10"),
    ],
)
def test_the_next_command_is_written_as_this_one_was(monkeypatch, tmp_path, program, user, line) -> None:
    monkeypatch.setattr(sys, "argv", [program])
    pl.DataFrame({"user_id": [user, "b"]}).write_parquet(tmp_path / "users.parquet")
    assert following.recommending("a/best.ckpt", Artifact("key", tmp_path, {})) == line


@pytest.mark.parametrize("user", ["o'brien, \\ [x]", "7", "", "ä b", "a=b", "null-1"])
def test_an_id_of_any_letters_is_read_back(user: str) -> None:
    (override,) = OverridesParser.create().parse_overrides([f"users=[{following._value(user)}]"])
    (value,) = override.value()
    assert str(getattr(value, "text", value)) == user
