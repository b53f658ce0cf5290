from __future__ import annotations

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from sage_pl.data.sources.folder import Folder
from sage_pl.data.sources.raw import DataError

START = 1_600_000_000
INTERACTIONS = pl.DataFrame(
    {"user_id": [1, 1, 2], "item_id": [7, 8, 7], "timestamp": [0, 1, 0], "unix_time": [5, None, 6]}
)
ITEMS = pl.DataFrame({"item_id": [7, 8], "title": ["Tea", ""], "brand": [None, "Own"], "categories": [["a", "b"], []]})


def write(folder: Path, interactions: pl.DataFrame | None = INTERACTIONS, items: pl.DataFrame | None = ITEMS) -> Folder:
    if interactions is not None:
        interactions.write_parquet(folder / "interactions.parquet")
    if items is not None:
        items.write_parquet(folder / "items.parquet")
    return Folder(folder)


def test_reads_both_tables(tmp_path: Path) -> None:
    raw = write(tmp_path).load()
    assert raw.interactions.collect().equals(INTERACTIONS)
    assert raw.items is not None
    assert raw.items.equals(ITEMS)


def test_text_is_optional(tmp_path: Path) -> None:
    assert write(tmp_path, items=None).load().items is None


def test_fingerprint_is_of_content_not_place(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("a", "b", "c")]
    for folder in folders:
        folder.mkdir()
    first, second = write(folders[0]).fingerprint(), write(folders[1]).fingerprint()
    third = write(folders[2], INTERACTIONS.head(2)).fingerprint()
    assert first == second
    assert first != third
    assert str(tmp_path) not in str(first)


def test_real_times_are_optional_and_part_of_the_fingerprint(tmp_path: Path) -> None:
    without = INTERACTIONS.drop("unix_time").with_columns(price=1.5)
    assert write(tmp_path, without).load().interactions.collect().columns == ["user_id", "item_id", "timestamp"]
    assert "clock" not in Folder(tmp_path).fingerprint()
    assert "clock" in write(tmp_path).fingerprint()


@pytest.mark.parametrize(
    ("interactions", "items", "message"),
    [
        (INTERACTIONS.drop("timestamp"), ITEMS, "no column timestamp; it has: user_id, item_id, unix_time"),
        (INTERACTIONS.clear(), ITEMS, r"interactions\.parquet is empty"),
        (INTERACTIONS.with_columns(user_id=pl.lit(None, pl.Int64)), ITEMS, "user_id .* null in 3 of 3 rows"),
        (INTERACTIONS.with_columns(timestamp=pl.lit(0.5)), ITEMS, "timestamp .* Float64, wanted integers"),
        (INTERACTIONS.with_columns(unix_time=pl.lit("now")), ITEMS, "unix_time .* String, wanted integers"),
        (INTERACTIONS, ITEMS.drop("title"), r"items\.parquet has no column title"),
        (INTERACTIONS, ITEMS.with_columns(title=1), "wanted text"),
        (INTERACTIONS, ITEMS.with_columns(title=pl.Series(["Tea", None])), "title .* null in 1 of 2 rows"),
        (INTERACTIONS, ITEMS.vstack(ITEMS.head(1)), "2 rows for 1 repeated item_ids, for example 7"),
    ],
    ids=[
        "column",
        "empty",
        "null id",
        "time type",
        "clock type",
        "no title",
        "title type",
        "item without text",
        "duplicate item",
    ],
)
def test_bad_tables_are_refused(tmp_path: Path, interactions: pl.DataFrame, items: pl.DataFrame, message: str) -> None:
    with pytest.raises(DataError, match=message):
        write(tmp_path, interactions, items).load()


@pytest.mark.parametrize(("content", "message"), [(b"", "0 bytes"), (b"user,item\n", "not a parquet file")])
@pytest.mark.parametrize("name", ["interactions", "items"])
def test_files_that_are_no_parquet(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    source = write(tmp_path)
    (tmp_path / f"{name}.parquet").write_bytes(content)
    with pytest.raises(DataError, match=rf"{name}\.parquet.*{message}"):
        source.load()


def test_absent_file_says_where_and_how(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"interactions\.parquet in folder .*beauty.*paths\.data=DIR") as error:
        Folder(tmp_path / "beauty").load()
    assert str(tmp_path) in str(error.value)
    with pytest.raises(FileNotFoundError, match=r"get raw\.gz and put it there"):
        Folder(tmp_path, missing="get raw.gz and put it there").fingerprint()


def test_brackets_in_a_path_are_no_pattern(tmp_path: Path) -> None:
    for name in ("a1", "a[1]"):
        (tmp_path / name).mkdir()
    write(tmp_path / "a1", INTERACTIONS.head(1))
    assert write(tmp_path / "a[1]").load().interactions.collect().equals(INTERACTIONS)


def test_ids_times_and_texts_are_mended_and_the_key_says_so(tmp_path: Path) -> None:
    whole = pl.DataFrame(
        {"user_id": ["u", "u", "u"], "item_id": ["a", "b", "c"], "timestamp": [START, START, START + 1]}
    )
    items = pl.DataFrame({"item_id": ["a", "b"], "title": ["R&D", "x"], "parts": [["a&b"], None]})
    plain = write(tmp_path, whole, items)
    assert plain.fingerprint().keys() == {"interactions", "items"}, "as in earlier versions"
    dressed = whole.with_columns(item_id=pl.col("item_id") + " ", timestamp=pl.Series([5, 1, 10**6]) + START * 10**6)
    entities = items.with_columns(title=pl.Series(["R&amp;D", "x"]), parts=pl.Series([["a&#38;b"], None]))
    source = write(tmp_path, dressed, entities.with_columns(pl.col("item_id") + "  "))
    assert source.fingerprint().keys() == {"interactions", "items", "item_id", "timestamp", "entities"}
    raw = source.load()
    rows = raw.interactions.collect().rows()
    assert rows == [("u", "b", START), ("u", "a", START), ("u", "c", START + 1)], "in exact order"
    assert raw.items is not None
    assert raw.items.equals(items)
    assert raw.notes == (
        "interactions.parquet: blanks around item_id removed",
        "interactions.parquet: timestamp in us, which become whole seconds",
        "items.parquet: HTML entities resolved in title, parts",
    )


def test_dates_of_a_parquet_type(tmp_path: Path) -> None:
    days = INTERACTIONS.with_columns(timestamp=pl.Series(["2020-09-14", "2020-09-15", "2020-09-14"]).str.to_date())
    assert write(tmp_path, days).load().interactions.collect()["timestamp"].to_list() == [
        1600041600,
        1600128000,
        1600041600,
    ]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"item_id": pl.Series(["a", " ", ""])}, r"item_id of .* null or blank in 2 of 3 rows \(rows 2, 3\)"),
        (
            {"timestamp": pl.Series([5, 1_600_000_000_000, 6])},
            "several units by the size of its numbers: 2 in s, 1 in ms",
        ),
        ({"timestamp": pl.Series([5, 2**63, 6], dtype=pl.UInt64)}, "timestamp .* has 1 times that do not fit"),
        ({"timestamp": pl.Series([date(9999, 12, 31)] * 3)}, "timestamp .* has 3 times that do not fit: dates .* 2262"),
        ({"unix_time": pl.Series([None, 2**64, 5], dtype=pl.Int128)}, "unix_time .* has 1 times that do not fit"),
    ],
)
def test_ids_and_times_that_cannot_be_mended(tmp_path: Path, columns: dict[str, pl.Series], message: str) -> None:
    with pytest.raises(DataError, match=message):
        write(tmp_path, INTERACTIONS.with_columns(**columns), None).load()


def test_further_columns_are_read_for_filters(tmp_path: Path) -> None:
    source = write(tmp_path, INTERACTIONS.with_columns(stars=pl.Series([1, 2, 3])))
    assert source.load("stars").interactions.collect()["stars"].to_list() == [1, 2, 3]
    with pytest.raises(DataError, match="no column rating"):
        source.load("rating")
