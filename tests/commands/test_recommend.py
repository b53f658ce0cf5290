"""What the command recommend prints."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from omegaconf import OmegaConf

from sage_pl.commands import lists, recommend
from sage_pl.serving.cached_recommender import Answer

IDS = ["[/b] x", "B00[new]5", ":tea:", "\x1b[31mred\x1b[0m", "a\rb\nc", "\u202egnp.exe"]
SHOWN = ["[/b] x", "B00[new]5", ":tea:", "\\x1b[31mred\\x1b[0m", "a\\rb\\nc", "\\u202egnp.exe"]


@pytest.mark.parametrize(("text", "shown"), zip(IDS, SHOWN, strict=True))
def test_ids_titles_and_users_are_shown_as_they_are(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, text: str, shown: str
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    names = lists.ItemNames(pl.Series(["", text, "B2"]), pl.Series(["", f"about {text}", "tea"]))
    answer = Answer(np.array([1, 2]), np.array([0.5, 0.25]), "model")
    lists.print_list(names, f"user {text}", np.array([1]), answer)
    printed = capsys.readouterr().out
    lines = [line.rstrip() for line in printed.split("\n")]
    assert f"user {shown}: 1 items, the last 1" in lines
    assert f"  {shown}  about {shown}" in lines
    assert any(line.split("  ")[1:] and f"{shown}   " in line and f"about {shown}" in line for line in lines[5:])
    assert all(character.isprintable() or character == "\n" for character in printed)


@pytest.mark.parametrize(("value", "ids"), [("u1", ["u1"]), (7, ["7"]), (1.5, ["1.5"]), (["u1", 7], ["u1", "7"])])
def test_a_single_id_needs_no_brackets(value: object, ids: list[str]) -> None:
    assert recommend._ids(OmegaConf.create({"users": value}).users) == ids
