"""Every file of the cases: the right value, or the right refusal.

The files are made here (:mod:`tests.data.sources.cases`); SAGE_CASES names a folder of others in the same form.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sage_pl.data.filters import DropDuplicates
from sage_pl.data.interactions import Interactions
from sage_pl.data.sources.amazon import Amazon
from sage_pl.data.sources.csv import CSV
from sage_pl.data.sources.raw import DataError
from sage_pl.data.split import LeaveOneOut
from tests.data.sources.cases import write_cases

ROW = ("24", "3", 1600102547)  # the first event of the base
RECBOLE = {"user": "user_id", "item": "item_id", "time": "timestamp"}
SHOP = {"user": "customer_id", "item": "article_id", "time": "t_dat", "text": "prod_name"}


Case = Callable[[str], Path]


def given_folder() -> Path | None:
    """The folder that SAGE_CASES names, or one beside the data sets."""
    beside = Path(os.environ["SAGE_DATA"]).parent / "cases" if "SAGE_DATA" in os.environ else None
    return Path(os.environ["SAGE_CASES"]) if os.environ.get("SAGE_CASES") else beside


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cases")
    write_cases(folder)
    return folder


@pytest.fixture(params=["made", "given"])
def case(request: pytest.FixtureRequest, written: Path) -> Case:
    """The path of a file by its name."""
    folder = written if request.param == "made" else given_folder()
    if folder is None or not folder.is_dir():
        pytest.skip("SAGE_CASES names no folder")
    return lambda name: folder / name


def test_every_given_file_is_made_too(written: Path) -> None:
    """So each has a test where no folder is given."""
    folder = given_folder()
    if folder is None or not folder.is_dir():
        pytest.skip("SAGE_CASES names no folder")
    assert {file.name for file in folder.iterdir()} == {file.name for file in written.iterdir()}


def test_every_file_has_a_test(written: Path) -> None:
    text = Path(__file__).read_text()
    assert [file.name for file in written.iterdir() if f'"{file.name}"' not in text] == []


@pytest.mark.parametrize(
    ("name", "settings", "rows", "first"),
    [
        ("plain.csv", {}, 240, ROW),
        (
            "plain.csv",
            {"separator": "comma", "quote": '"', "header": True, "encoding": "utf-8", "time_format": "s"},
            240,
            ROW,
        ),
        ("plain.csv.bz2", {}, 240, ROW),
        ("plain_tab.tsv", {}, 240, ROW),
        ("plain_tab.tsv", {"separator": "\\t"}, 240, ROW),
        ("plain_tab.tsv", {"separator": "\t"}, 240, ROW),
        ("plain_tab.tsv", {"separator": "tab"}, 240, ROW),
        ("plain_tab.tsv", {"separator": ""}, 240, ROW),  # a tab as a shell and Hydra deliver it
        ("dups.csv", {}, 290, ROW),
        ("floatids_mixed.csv", {}, 240, ROW),
        ("ml100k_u.data", {"user": 1, "item": 2, "time": 4}, 240, ROW),
        ("notime.csv", {"time": None}, 240, ("1", "11", 0)),
        ("recbole_frac.inter", RECBOLE, 240, ROW),
        ("stray_quotes_two.tsv", {}, 240, ROW),
        ("stray_quotes_two.tsv", {"text": "title"}, 240, ROW),
        ("stray_quotes_two.tsv", {"separator": "\t", "quote": None}, 240, ROW),
        ("time_iso_UTC_word.csv", {}, 240, ROW),
        ("time_ms.csv", {}, 240, ROW),
        ("trail_blank.csv", {}, 240, ROW),
        ("shop.csv", SHOP, 1477, ("00121", "0000000092", 1601388391)),
        ("shop_sorted.csv", SHOP, 1477, ("00000", "0000000004", 1600683624)),
        ("shop_moreitems.csv", SHOP, 1481, ("00121", "0000000092", 1601388391)),
    ],
)
def test_every_event_is_read(
    case: Case, name: str, settings: dict[str, Any], rows: int, first: tuple[str, str, int]
) -> None:
    frame = CSV(case(name), **settings).load().interactions.collect()
    assert frame.height == rows
    assert frame.row(0) == first


@pytest.mark.parametrize("name", ["plain_tab.tsv", "ml100k_u.data", "plain.csv.bz2", "stray_quotes_two.tsv", "time_ms.csv",
                                  "time_iso_UTC_word.csv", "trail_blank.csv", "recbole_frac.inter"])  # fmt: skip
def test_the_same_events_in_another_dress(case: Case, name: str) -> None:
    settings: dict[str, dict[str, Any]] = {
        "ml100k_u.data": {"user": 1, "item": 2, "time": 4},
        "recbole_frac.inter": RECBOLE,
    }
    base = CSV(case("plain.csv")).load().interactions.collect()
    assert CSV(case(name), **settings.get(name, {})).load().interactions.collect().equals(base)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("emptyids.csv", {}, "item is empty in 2 of 240 rows, lines 7, 11"),
        ("quotedempty.csv", {}, "item is empty in 1 of 240 rows, line 7"),
        ("notime.csv", {}, r"no column time; it has: user, item; .*dataset\.time=null takes the order of the file"),
        ("ml100k_u.data", {}, r"it has: 24, 3, 5, 1600102547; .*without a header.*dataset\.user=1"),
        ("recbole_frac.inter", {}, r"no column user, item, time \(nearest: user_id, item_id, timestamp\)"),
        ("plain.csv", {"separator": "tab"}, r"one field here, and dataset\.separator=auto would split it at ','"),
        (
            "shop.csv",
            {**SHOP, "item": "artikel_id"},
            r"no column artikel_id \(nearest: article_id\); it has: customer_id, ",
        ),
    ],
)
def test_what_cannot_be_read_is_named(case: Case, name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        CSV(case(name), **settings).load()


@pytest.mark.parametrize("reader", ["amazon", "csv"])
def test_json_lines_with_a_byte_order_mark(case: Case, reader: str) -> None:
    reviews, metadata = case("a23_bom.jsonl"), case("a23_meta.jsonl")
    columns = {"user": "user_id", "item": "parent_asin", "time": "timestamp", "text": "title"}
    source = Amazon(reviews, metadata, 2023) if reader == "amazon" else CSV(reviews, items=metadata, **columns)
    raw = source.load()
    assert raw.interactions.collect().equals(CSV(case("plain.csv")).load().interactions.collect())
    assert raw.items is not None
    titles = dict(raw.items.select("item_id", "title").iter_rows())
    assert titles["1"] == "Item number 1"
    assert len(titles) == 20
    assert not any("&amp;" in title or "\ud800" <= max(title) <= "\udfff" for title in titles.values())


def test_duplicates_and_two_spellings_are_counted(case: Case, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Interactions(CSV(case("dups.csv")), LeaveOneOut(), (DropDuplicates(),)).run({}, tmp_path)
    assert "50 of 290 events left out" in (tmp_path / "report.json").read_text()
    Interactions(CSV(case("floatids_mixed.csv")), LeaveOneOut()).run({}, tmp_path)
    assert "20 ids are written as 10.0 and 20 as 3; 20 occur in both spellings" in caplog.text
