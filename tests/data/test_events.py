"""Data in parts through the disk give the artifact of data in memory, byte by byte."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from sage_pl.data import events
from sage_pl.data.filters import AtLeast, DropDuplicates, DropRepeats, Filter, KCore, LastItems, Period, SinglePass
from sage_pl.data.interactions import Interactions
from sage_pl.data.sources.folder import Folder
from sage_pl.data.sources.raw import DataError
from sage_pl.data.split import GlobalTime, LeaveOneOut, SplitRule


@dataclass(frozen=True)
class EveryThird(Filter):
    """A rule of a program that uses the package: it reads rows beyond one user's."""

    def keep(self, frame: pl.DataFrame) -> pl.DataFrame:
        return frame.with_row_index("row").filter(pl.col("row") % 3 != 0).drop("row")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """Text ids, ties, repeats and rare users and items, in the order of time."""
    folder = tmp_path_factory.mktemp("data")
    generator = np.random.default_rng(0)
    users, items = generator.geometric(0.02, 4000), generator.geometric(0.03, 4000)
    frame = pl.DataFrame(
        {
            "user_id": [f"u{user}" for user in users],
            "item_id": items,
            "timestamp": np.sort(generator.integers(1_500_000_000, 1_500_001_500, 4000)),
            "rating": generator.integers(1, 6, 4000),
        }
    )
    frame.write_parquet(folder / "interactions.parquet")
    pl.DataFrame({"item_id": np.arange(60), "title": [f"Item {item}" for item in range(60)]}).write_parquet(
        folder / "items.parquet"
    )
    return Folder(folder)


def content(folder: Path) -> dict[str, Any]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.name != "left_out.parquet"}


def made(step: Interactions, folder: Path) -> Path:
    folder.mkdir()
    step.run({}, folder)
    return folder


@pytest.mark.parametrize("split", [LeaveOneOut(), GlobalTime()], ids=["leave one out", "global time"])
@pytest.mark.parametrize(
    "filters",
    [
        [],
        [KCore(5, 8)],
        [SinglePass(4, 9), LastItems(20)],
        [AtLeast("rating", 2), KCore(3, 5), DropRepeats()],
        [DropDuplicates(), Period(1_500_000_100, 1_500_001_400), KCore(2, 2)],
        [KCore(4, 0), EveryThird(), KCore(3, 3)],
    ],
    ids=str,
)
def test_parts_give_the_same_files(
    source: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, filters: list[Filter], split: SplitRule
) -> None:
    step = Interactions(source, split, filters, catalogue="all")
    whole = made(step, tmp_path / "whole")
    monkeypatch.setattr(events, "PART", 300)
    parts = made(step, tmp_path / "parts")
    assert content(parts) == content(whole)
    left = [folder / "left_out.parquet" for folder in (whole, parts)]
    assert len({file.is_file() for file in left}) == 1
    if left[0].is_file():
        assert pl.read_parquet(left[1]).equals(pl.read_parquet(left[0]))
    assert json.loads((parts / "report.json").read_text())["stages"][0]["interactions"] == 4000


def test_parts_hold_whole_users_and_few_more_rows_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "PART", 10)
    rows = np.array([4, 5, 2, 30, 1, 1, 9])
    numbers = events._part_numbers(rows)
    assert (np.diff(numbers) >= 0).all()
    parts = [rows[numbers == number] for number in np.unique(numbers)]
    assert len(parts) == 4
    assert all(part.sum() < 10 + part[0] for part in parts)


def test_a_filter_that_leaves_nothing_of_the_parts_says_so(
    source: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "PART", 300)
    with pytest.raises(DataError, match=r"leaves nothing of 4000 interactions of \d+ users and \d+ items"):
        made(Interactions(source, LeaveOneOut(), [KCore(1000, 1000)]), tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())
