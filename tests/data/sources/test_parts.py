"""Interactions in parts, as other programs write them, are the same data as in one file."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from sage_pl.data.sources.folder import Folder
from sage_pl.data.sources.raw import DataError
from sage_pl.errors import MissingFileError

EVENTS = pl.DataFrame(
    {
        "user_id": ["a", "b", "a", "c", "b", "a"],
        "item_id": [1, 2, 3, 1, 2, 2],
        "timestamp": [10, 20, 30, 40, 50, 60],
        "rating": [5, 4, 5, 1, 2, 3],
        "day": ["2020-01-01", "2020-01-01", "2020-01-01", "2020-01-02", "2020-01-02", "2020-01-02"],
    }
)
ITEMS = pl.DataFrame({"item_id": [1, 2, 3], "title": ["Tea", "Pot", "Cup"]})


def spark(folder: Path) -> str:
    """A folder named as a file, with parts, a marker and checksums."""
    table = folder / "interactions.parquet"
    table.mkdir()
    for number in range(3):
        EVENTS[2 * number : 2 * number + 2].write_parquet(table / f"part-0000{number}-f00d.snappy.parquet")
    (table / "_SUCCESS").touch()
    (table / ".part-00000-f00d.snappy.parquet.crc").write_bytes(b"crc")
    (table / "_metadata.parquet").write_bytes(b"no table")
    return str(folder)


def ray_data(folder: Path) -> str:
    """Parts beside the table of items."""
    for number in range(3):
        EVENTS[2 * number : 2 * number + 2].write_parquet(folder / f"000{number}_00000{number}.parquet")
    return f"{folder}/*.parquet"


def duckdb(folder: Path) -> str:
    """``COPY ... (PARTITION_BY (day))``: the column is in the names of folders alone."""
    for (day,), part in EVENTS.partition_by("day", as_dict=True, include_key=False).items():
        (folder / f"day={day}").mkdir()
        part.write_parquet(folder / f"day={day}" / "data_0.parquet")
    return f"{folder}/*/*.parquet"


@pytest.mark.parametrize("write", [spark, ray_data, duckdb], ids=lambda write: write.__name__)
@pytest.mark.parametrize("name", ["data", "da[t]a"])
def test_parts_are_one_table(tmp_path: Path, write, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    ITEMS.write_parquet(folder / "items.parquet")
    source = Folder(write(folder))
    raw = source.load("rating", "day")
    frame = raw.interactions.collect()
    assert frame.with_columns(pl.col("day").cast(pl.String)).equals(
        EVENTS.select("user_id", "item_id", "timestamp", "rating", "day")
    )
    assert raw.items is not None
    assert raw.items.equals(ITEMS)
    parts = [name for name in source.fingerprint() if name.startswith("interactions/")]
    assert len(parts) == (2 if write is duckdb else 3)


def test_the_key_is_of_the_parts_and_not_of_their_place(tmp_path: Path) -> None:
    keys = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        keys.append(Folder(ray_data(tmp_path / name)).fingerprint())
    assert keys[0] == keys[1]
    EVENTS[:1].write_parquet(tmp_path / "other" / "0009.parquet")
    assert Folder(f"{tmp_path}/other/*.parquet").fingerprint() != keys[0]


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (EVENTS.with_columns(item_id=pl.col("item_id").cast(pl.String)), "item_id is String in .* but Int64 in"),
        (EVENTS.drop("timestamp"), "timestamp is absent in .* but Int64 in .*one schema"),
        (EVENTS.with_columns(rating=pl.lit(1.5)), "rating is Float64 in .* but Int64 in"),
        (EVENTS.with_columns(user_id=pl.lit([1])), r"user_id is List\(Int64\) in .* but String in"),
    ],
    ids=["type", "column", "column of a filter", "list"],
)
def test_parts_of_two_schemas_are_one_clear_error(tmp_path: Path, second: pl.DataFrame, message: str) -> None:
    EVENTS.write_parquet(tmp_path / "a.parquet")
    second.write_parquet(tmp_path / "b.parquet")
    with pytest.raises(DataError, match=message):
        Folder(f"{tmp_path}/*.parquet").load("rating")


def test_columns_that_nobody_reads_may_differ(tmp_path: Path) -> None:
    EVENTS.write_parquet(tmp_path / "a.parquet")
    EVENTS.select("timestamp", "item_id", "user_id", note=pl.lit("x")).write_parquet(tmp_path / "b.parquet")
    assert Folder(f"{tmp_path}/*.parquet").load().interactions.collect().height == 12


def test_ids_are_no_lists(tmp_path: Path) -> None:
    EVENTS.with_columns(user_id=pl.lit([1])).write_parquet(tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"user_id of .* is List.*wanted integers or text"):
        Folder(f"{tmp_path}/*.parquet").load()


def test_a_pattern_without_files_says_what_helps(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"no file \*\.parquet in folder .*; name the folder"):
        Folder(f"{tmp_path}/*.parquet").load()
