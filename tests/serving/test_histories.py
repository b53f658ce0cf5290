"""Histories of the data and of later events."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sage_pl.artifacts.store import Artifact
from sage_pl.serving.histories import Histories


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    """Two users (17: 1 2 3 1; 4: 3 2 1) and three items (a, b, c)."""
    arrays = {
        "values": [1, 2, 3, 1, 3, 2, 1], "offsets": [0, 0, 4, 7], "train_end": [0, 2, 1],
        "valid_user": [1, 2], "valid_at": [2, 1], "test_user": [1, 2], "test_at": [3, 2],
    }  # fmt: skip
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", np.array(array))
    pl.DataFrame({"user": [1, 2], "user_id": [17, 4]}).write_parquet(tmp_path / "users.parquet")
    pl.DataFrame({"item": [1, 2, 3], "item_id": ["a", "b", "c"]}).write_parquet(tmp_path / "items.parquet")
    return Artifact("key", tmp_path, {})


def test_held_out_events_are_history_too(artifact: Artifact) -> None:
    histories = Histories.of(artifact)
    assert [histories[row].tolist() for row in range(2)] == [[1, 2, 3, 1], [3, 2, 1]]
    assert (list(histories.names), histories.users.tolist()) == (["17", "4"], [1, 2])


def test_later_events_follow(artifact: Artifact, caplog: pytest.LogCaptureFixture) -> None:
    later = pl.DataFrame({"user_id": ["4", "9", "17", "9", "4"], "item_id": ["c", "b", "nothing", "a", "c"]})
    histories = Histories.of(artifact, later)
    assert [histories[row].tolist() for row in range(3)] == [[1, 2, 3, 1], [3, 2, 1, 3, 3], [2, 1]]
    assert (list(histories.names), histories.users.tolist()) == (["17", "4", "9"], [1, 2, 0])
    assert "1 of 5 events have an item unknown to the model, such as nothing" in caplog.text
    padded = histories.padded(np.array([2, 1]))
    assert padded.tolist() == [[0, 0, 0, 2, 1], [3, 2, 1, 3, 3]]


def test_padding_of_users_without_events() -> None:
    histories = Histories(["x"], np.array([0]), np.array([], np.int64), np.array([0, 0]))
    assert histories.padded(np.array([0])).tolist() == [[0]]
