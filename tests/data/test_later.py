"""Later events in the form of every data set, and in plain columns."""

from __future__ import annotations

import datetime as dt
import gzip
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from sage_pl.artifacts.plain import read_yaml
from sage_pl.data.filters import AtLeast, DropRepeats, KCore, OneOf, Period
from sage_pl.data.later import read_events
from sage_pl.data.sources.amazon import Amazon
from sage_pl.data.sources.csv import CSV
from sage_pl.data.sources.folder import Folder
from sage_pl.data.sources.journey import Journey
from sage_pl.data.sources.raw import DataError
from sage_pl.data.sources.yelp import Yelp
from sage_pl.reference.source import Handled

SOURCES = {
    "csv": CSV("gone", "customer", "sku", "time", text=["title"], items="gone too"),
    "numbers": CSV("gone", 1, 3, 2, header=False),
    "folder": Folder("gone"),
    "amazon": Amazon("gone", "gone", 2014),
    "amazon23": Amazon("gone", "gone", 2023),
    "yelp": Yelp("gone", "gone", end="2001-01-01"),
    "journey": Journey(),
    "handled": Handled("gone"),
}
DAY = dt.datetime(2026, 3, 3, 9, tzinfo=dt.UTC)
SECONDS = int(DAY.timestamp())


def records(user: str, item: str, time: str, *times: str) -> str:
    rows = zip("ba", times, strict=True)
    return "".join(f'{{"{user}": "7", "{item}": "{name}", "{time}": {moment}}}\n' for name, moment in rows)


@pytest.mark.parametrize(
    ("source", "content"),
    [
        ("csv", f"sku;time;customer;more\nb;2026-03-03 09:00:01;7;x\na;{DAY.isoformat()};7;x\n"),
        ("csv", f"customer,sku,time\n7,b,{SECONDS + 1}000\n7,a,{SECONDS}000\n"),
        ("csv", f'{{"customer": 7, "sku": "b", "time": "{SECONDS + 1}"}}\n{{"customer": 7, "sku": "a", "time": {SECONDS}}}\n'),
        ("numbers", f"7|{SECONDS + 1}|b\n7|{SECONDS}|a\n"),
        ("folder", f"user_id\titem_id\ttimestamp\n7\tb\t2026-03-03T09:00:01Z\n7\ta\t{DAY.isoformat()}\n"),
        ("amazon", records("reviewerID", "asin", "unixReviewTime", f"{SECONDS + 1}", f"{SECONDS}")),
        ("amazon23", records("user_id", "parent_asin", "timestamp", f"{SECONDS + 1}000", f"{SECONDS}000")),
        ("yelp", records("user_id", "business_id", "date", '"2026-03-03 09:00:01"', '"2026-03-03 09:00:00"')),
        ("journey", "household_id,product_id,transaction_timestamp\n7,b,2026-03-03 09:00:01\n7,a,2026-03-03 09:00:00\n"),
        *((name, f"user_id,item_id,timestamp\n7,b,{SECONDS + 1}\n7,a,{SECONDS}\n") for name in SOURCES),
    ],
)  # fmt: skip
@pytest.mark.parametrize("compressed", [False, True])
def test_the_form_of_the_data_set(tmp_path: Path, source: str, content: str, compressed: bool) -> None:
    file = tmp_path / "a [day]"
    file.write_bytes(gzip.compress(content.encode()) if compressed else content.encode())
    assert read_events(SOURCES[source], [], file).rows() == [("7", "b", SECONDS + 1), ("7", "a", SECONDS)]


@pytest.mark.parametrize("name", ["csv", "folder", "amazon", "yelp", "journey"])
@pytest.mark.parametrize("times", ["dates", "seconds", "milliseconds"])
@pytest.mark.parametrize("plain", [False, True])
def test_parquet(tmp_path: Path, name: str, times: str, plain: bool) -> None:
    """Of the data set's columns or plain ones, with times of any parquet type."""
    moments: dict[str, list[Any]] = {
        "dates": [DAY.replace(second=1), DAY],
        "seconds": [SECONDS + 1, SECONDS],
        "milliseconds": [1000 * SECONDS + 2, 1000 * SECONDS + 1],
    }
    columns = ["user_id", "item_id", "timestamp"] if plain else SOURCES[name].like(tmp_path).columns
    pl.DataFrame(dict(zip(columns, ([7, 7], [2, 1], moments[times]), strict=True))).write_parquet(tmp_path / "day")
    events = read_events(SOURCES[name], [], tmp_path / "day")
    assert events["item_id"].to_list() == (["1", "2"] if times == "milliseconds" else ["2", "1"])
    assert events["timestamp"][1] == SECONDS


@pytest.mark.parametrize(
    "content", ["user_id,item_id\n7,b\n7,a\n", '{"user_id": 7, "item_id": "b"}\n{"user_id": 7, "item_id": "a"}\n']
)
def test_without_times_in_the_order_of_the_file(tmp_path: Path, content: str) -> None:
    (tmp_path / "day").write_text(content)
    assert read_events(SOURCES["csv"], [], tmp_path / "day").rows() == [("7", "b", None), ("7", "a", None)]


def test_pairs_of_the_reference(tmp_path: Path) -> None:
    (tmp_path / "inter.txt").write_text("5 5\n5 2\n")
    assert read_events(SOURCES["handled"], [], tmp_path / "inter.txt").rows() == [("5", "5", None), ("5", "2", None)]


def test_a_day_without_events(tmp_path: Path) -> None:
    (tmp_path / "day").write_text("customer,sku,time,kind\n")
    assert read_events(SOURCES["csv"], [OneOf("kind", ["buy"])], tmp_path / "day").is_empty()


def test_filters_that_read_columns_count_for_later_events_too(tmp_path: Path) -> None:
    """What is no purchase is no history; counts of the training data, its period and repeats are another matter."""
    rules = [OneOf("kind", ["buy"]), AtLeast("stars", 4), KCore(5, 5), Period(end="2020-01-01"), DropRepeats()]
    (tmp_path / "day").write_text("customer,sku,time,kind,stars\n7,a,1,buy,5\n7,a,2,view,5\n7,c,3,buy,3\n7,a,4,buy,4\n")
    assert read_events(SOURCES["csv"], rules, tmp_path / "day").rows() == [("7", "a", 1), ("7", "a", 4)]
    (tmp_path / "day").write_text("customer,sku,time,kind\n7,a,1,buy\n")
    with pytest.raises(DataError, match="no column stars"):
        read_events(SOURCES["csv"], rules, tmp_path / "day")
    (tmp_path / "day").write_text("user_id,item_id,kind\n7,a,buy\n7,b,view\n")
    assert read_events(SOURCES["csv"], rules, tmp_path / "day")["item_id"].to_list() == ["a"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("customer,item\n1,2\n", "no column sku, time"),
        ("customer,sku,time\n1, ,3\n", "sku is empty in 1 of 1 rows, line 2"),
        ("customer,sku,time\n1,2,\n", "time is empty"),
        ("user_id,item_id,timestamp\n1,2,noon\n", "'noon'"),
        ("customer,sku,time\n1,2,3,4\n", "line 2"),
        ("{", "malformed"),
        ("", "is empty"),
        ("PAR1 and no more", "cannot be read as parquet"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "day").write_text(content)
    with pytest.raises(DataError, match=message) as error:
        read_events(SOURCES["csv"], [], tmp_path / "day")
    assert "\n" not in str(error.value)


def test_files_that_are_absent_or_of_other_columns(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="events=FILE"):
        read_events(SOURCES["csv"], [], "nowhere.csv")
    pl.DataFrame({"customer": [1], "item": [2]}).write_parquet(tmp_path / "day")
    with pytest.raises(DataError, match="no column sku, time"):
        read_events(SOURCES["csv"], [], tmp_path / "day")
    pl.DataFrame({"user_id": [1], "item_id": [None], "timestamp": [3]}).write_parquet(tmp_path / "day")
    with pytest.raises(DataError, match="item_id is empty in 1 of 1 rows, row 1"):
        read_events(SOURCES["csv"], [], tmp_path / "day")
    with pytest.raises(DataError, match="object has no method like"):
        read_events(object(), [], tmp_path / "day")  # type: ignore[arg-type]


def test_every_data_set_of_the_configuration_reads_later_events() -> None:
    """The contract of a source: each one that ``conf/dataset`` names is among those tested here."""
    files = (Path(__file__).parent.parent.parent / "conf" / "dataset").glob("*.yaml")
    sources = [read_yaml(file).get("source", {}) for file in files]  # a file without a target extends one that has it
    targets = {str(source["_target_"]).rpartition(".")[2] for source in sources if "_target_" in source}
    assert targets == {type(source).__name__ for source in SOURCES.values()}
