"""Histories of the data and of later events."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sage_pl.artifacts.store import Artifact
from sage_pl.data.sources.raw import DataError
from sage_pl.serving.histories import Histories, read_events


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


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_three_formats_in_order_of_time(tmp_path: Path, suffix: str) -> None:
    frame = pl.DataFrame({"user_id": [7, 7, 8], "item_id": ["b", "a", "c"], "timestamp": [20, 3, 3], "more": [0, 0, 0]})
    file = tmp_path / f"events{suffix}"
    {".csv": frame.write_csv, ".jsonl": frame.write_ndjson, ".parquet": frame.write_parquet}[suffix](file)
    assert read_events(file).rows() == [("7", "a"), ("8", "c"), ("7", "b")]


def test_times_written_as_text_are_numbers(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    rows = [f'{{"user_id": "u", "item_id": "{item}", "timestamp": "{time}"}}' for item, time in (("a", 10), ("b", 9))]
    file.write_text("\n".join(rows))
    assert [item for _, item in read_events(file).rows()] == ["b", "a"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.csv", "user_id,item\n1,2\n", "item_id"),
        ("x.csv", "user_id,item_id\n1,\n", "without item_id"),
        ("x.csv", "user_id,item_id,timestamp\n1,2,noon\n", "'noon'"),
        ("x.txt", "user_id,item_id\n1,2\n", "'.txt'"),
        ("x.jsonl", "{", "cannot be read"),
        ("x.parquet", "PAR", "cannot be read"),
    ],
)
def test_bad_files(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        read_events(tmp_path / name)


def test_no_file() -> None:
    with pytest.raises(FileNotFoundError, match="events=FILE"):
        read_events("nowhere.csv")


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_brackets_in_the_name_of_a_file_are_no_pattern(tmp_path: Path, suffix: str) -> None:
    for name, user in (("e1", "other"), ("e[1]", "u1")):
        frame = pl.DataFrame({"user_id": [user], "item_id": ["B1"]})
        writers = {"csv": frame.write_csv, "jsonl": frame.write_ndjson, "parquet": frame.write_parquet}
        writers[suffix](tmp_path / f"{name}.{suffix}")
    assert read_events(tmp_path / f"e[1].{suffix}")["user_id"].to_list() == ["u1"]
