from __future__ import annotations

import json
from pathlib import Path

import pytest

from sage_pl.data.sources.raw import DataError
from sage_pl.data.sources.yelp import Yelp, split_categories

REVIEWS = [
    {"user_id": "u1", "business_id": "b1", "stars": 5, "date": "2019-12-31 00:00:00", "text": "long"},
    {"user_id": "u1", "business_id": "b2", "stars": 1, "date": "2019-12-31 00:00:01"},
    {"user_id": "u2", "business_id": "b1", "stars": 1, "date": "1970-01-02"},
]
BUSINESSES = [
    {
        "business_id": "b1",
        "name": "Bar",
        "categories": "Bars, Beer, Wine & Spirits",
        "city": "Reno",
        "stars": 4.5,
        "review_count": 9,
    },
    {"business_id": "b2", "name": "Nameless", "categories": None, "city": None},
    {"business_id": "b3", "name": "Never reviewed", "categories": "Food"},
]


def write(folder: Path, start: str | None = None, end: str | None = None) -> Yelp:
    for name, records in (("review", REVIEWS), ("business", BUSINESSES)):
        (folder / name).write_text("".join(json.dumps(record) + "\n" for record in records))
    return Yelp(folder / "review", folder / "business", start, end)


def test_reads_reviews_and_reviewed_businesses(tmp_path: Path) -> None:
    raw = write(tmp_path).load()
    day = 1_577_750_400
    assert raw.interactions.collect().rows() == [("u1", "b1", day), ("u1", "b2", day + 1), ("u2", "b1", 86_400)]
    assert raw.items is not None
    assert raw.items.columns == [
        "item_id",
        "title",
        "categories",
        "city",
    ]  # no review_count or stars: they know the future
    assert raw.items.rows() == [("b1", "Bar", ["Bars", "Beer, Wine & Spirits"], "Reno"), ("b2", "Nameless", [], None)]


@pytest.mark.parametrize(
    ("start", "end", "rows"),
    [("2000-01-01 00:00:00", "2019-12-31 00:00:00", 1), (None, "2019-12-31", 2), ("1970-01-02", None, 3)],
    ids=["reference", "until", "from"],
)
def test_dates_include_both_borders(tmp_path: Path, start: str | None, end: str | None, rows: int) -> None:
    raw = write(tmp_path, start, end).load()
    assert raw.interactions.collect().height == rows
    note = f"{3 - rows} of 3 reviews left out, which are not from {start or 'the first'} to {end or 'the last'}"
    assert raw.notes == ((note,) if rows < 3 else ())


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (None, []),
        ("Food", ["Food"]),
        (
            "Books, Mags, Music & Video, Used, Vintage & Consignment",
            ["Books, Mags, Music & Video", "Used, Vintage & Consignment"],
        ),
        (["Bars", "Food"], ["Bars", "Food"]),
        ({"Bars": 1}, []),
    ],
    ids=["none", "one", "commas inside", "old dump", "no text"],
)
def test_categories(text: object, names: list[str]) -> None:
    assert split_categories(text) == names


@pytest.mark.parametrize(
    ("file", "line", "message"),
    [
        ("review", '{"user_id": "u1",', "review, line 4: malformed"),
        ("review", '{"user_id": "u1", "business_id": "b1"}', "line 4: field date is None"),
        ("review", '{"user_id": "u1", "business_id": "b1", "date": "May"}', "line 4: date is 'May', wanted YYYY"),
        ("review", '{"business_id": "b1", "date": "2019-01-01"}', "line 4: field user_id"),
        ("business", '{"name": "x"}', "business, line 4: field business_id"),
        ("business", '{"business_id": "b1", "name": "again"}', "repeated item_ids, for example 'b1'"),
    ],
    ids=["cut", "no date", "bad date", "no user", "no business", "duplicate"],
)
def test_bad_lines_are_named(tmp_path: Path, file: str, line: str, message: str) -> None:
    source = write(tmp_path)
    with (tmp_path / file).open("a") as stream:
        stream.write(line + "\n")
    with pytest.raises(DataError, match=message):
        source.load()


def test_no_review_in_the_period(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no review from 2030-01-01 to None.*dataset\.start"):
        write(tmp_path, start="2030-01-01").load()


def test_absent_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"dataset\.reviews=FILE"):
        Yelp(tmp_path / "x", tmp_path / "y").fingerprint()


def test_fingerprint_knows_the_period(tmp_path: Path) -> None:
    assert write(tmp_path).fingerprint() != write(tmp_path, start="2000-01-01").fingerprint()


def test_names_are_tidy_and_stars_can_be_filtered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BUSINESSES[0], "name", " Tea &amp;  more \ud83d")
    raw = write(tmp_path).load("stars")
    assert raw.items is not None
    assert raw.items["title"][0] == "Tea & more \ufffd"
    assert raw.interactions.collect()["stars"].to_list() == ["5", "1", "1"]
    monkeypatch.setitem(REVIEWS[0], "user_id", "  ")
    with pytest.raises(DataError, match="line 1: field user_id is '  ', wanted an id"):
        write(tmp_path).load()
