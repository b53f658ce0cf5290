"""Sequences of other data under a model's numbers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sage_pl.artifacts.store import Artifact
from sage_pl.data.mapped import Ids, Mapped
from sage_pl.data.sequences import Sequences
from sage_pl.runs.trained_ids import carried, read_ids


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    """Users 17 (c a new b) and 4 (b new c)."""
    arrays = {
        "values": [3, 1, 4, 2, 2, 4, 3], "offsets": [0, 0, 4, 7], "train_end": [0, 2, 1], "times": range(7),
        "valid_user": [1, 2], "valid_at": [2, 1], "test_user": [1, 2], "test_at": [3, 2],
    }  # fmt: skip
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", np.array(array))
    pl.DataFrame({"user": [1, 2], "user_id": [17, 4]}).write_parquet(tmp_path / "users.parquet")
    items = {"item": [1, 2, 3, 4], "item_id": ["a", "b", "c", "new"], "title": ["A", "B", "C", "N"]}
    pl.DataFrame(items).write_parquet(tmp_path / "items.parquet")
    (tmp_path / "report.json").write_text('{"stages": []}')
    return Artifact("key", tmp_path, {})


def test_numbers_are_those_of_the_model(artifact: Artifact, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    Mapped(Ids(["c", "gone", "b", "a"], ["9", "4"])).run({"sequences": artifact}, out)
    mapped = Artifact("other", out, {})
    data = Sequences.load(mapped)
    assert [data.values[a:b].tolist() for a, b in zip(data.offsets[:-1], data.offsets[1:], strict=True)] == [
        [], [], [3, 1], [1, 4, 3],
    ]  # fmt: skip
    assert data.train_end.tolist() == [0, 0, 1, 2]
    assert (data.test.user.tolist(), data.test.answer.tolist()) == ([3, 2], [3, 1])
    assert len(data.valid) == 0
    assert mapped.frame("items")["item_id"].to_list() == ["c", "gone", "b", "a"]
    assert mapped.frame("items")["title"].to_list() == ["C", "", "B", "A"]
    assert json.loads((out / "report.json").read_text())["mapped"] == {
        "unknown_items": 1, "items_without_events": 1, "new_users": 1, "events_left_out": 2, "test_cases_left_out": 0,
    }  # fmt: skip


def test_a_checkpoint_carries_its_ids(artifact: Artifact) -> None:
    ids = read_ids(carried({}, {"sequences": artifact})["ids"])
    assert ids == Ids(["a", "b", "c", "new"], ["17", "4"])
    assert read_ids(None) is None
