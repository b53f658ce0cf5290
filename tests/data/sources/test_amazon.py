from __future__ import annotations

import dataclasses
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from sage_pl.data.sources.amazon import Amazon
from sage_pl.data.sources.raw import DataError

REVIEWS: dict[int, list[dict[str, Any]]] = {
    2014: [
        {"reviewerID": "A1", "asin": "B1", "overall": 5.0, "unixReviewTime": 20, "reviewText": "long"},
        {"reviewerID": "A1", "asin": "B2", "overall": 1.0, "unixReviewTime": 10},
    ],
    2023: [
        {"user_id": "A1", "asin": "variant", "parent_asin": "B1", "timestamp": 20_999, "rating": 5.0},
        {"user_id": "A1", "asin": "variant", "parent_asin": "B2", "timestamp": 10_000, "rating": 1.0},
    ],
}
REVIEWS[2018] = REVIEWS[2014]
METADATA: dict[int, list[dict[str, Any]]] = {
    2014: [
        {"asin": "B1", "title": "It's  Tea &amp; more", "brand": "Own", "categories": [["Food", "Tea"], ["Gifts"]],
         "description": "Fine &quot;tea&quot;", "price": 3.5},
        {"asin": "B9", "title": "never reviewed"},
    ],
    2018: [
        {"asin": "B1", "title": "It's Tea &amp; more", "brand": "Own", "category": ["Food", "Tea"],
         "description": ["Fine", '"tea"'], "feature": ["hot", ""], "price": "3.5"},
    ],
    2023: [
        {"parent_asin": "B1", "title": "It's Tea &amp; more", "store": "Own", "categories": ["Food", "Tea"],
         "description": ["Fine", '"tea"'], "features": ["hot"], "price": 3.5},
    ],
}  # fmt: skip


def write(folder: Path, year: int, literal: bool = False, zipped: bool = False) -> Amazon:
    reviews = "\n".join(map(json.dumps, REVIEWS[year])) + "\n"
    metadata = "\n".join(map(repr if literal else json.dumps, METADATA[year])) + "\n\n"
    for name, text in (("reviews", reviews), ("metadata", metadata)):
        (folder / name).write_bytes(gzip.compress(text.encode()) if zipped else text.encode())
    return Amazon(folder / "reviews", folder / "metadata", year)


@pytest.mark.parametrize("year", [2014, 2018, 2023])
@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gzip"])
def test_each_release(tmp_path: Path, year: int, zipped: bool) -> None:
    raw = write(tmp_path, year, literal=year == 2014, zipped=zipped).load()
    assert raw.interactions.collect().rows() == [("A1", "B1", 20), ("A1", "B2", 10)]
    assert raw.items is not None
    assert raw.items["item_id"].to_list() == ["B1"]  # only what was reviewed
    item = raw.items.row(0, named=True)
    assert item["title"] == "It's Tea & more"
    assert item["brand"] == "Own"
    assert item["categories"] == ["Food", "Tea"]
    assert item["description"] == 'Fine "tea"'
    assert item["features"] == ([] if year == 2014 else ["hot"])
    assert item["price"] == "3.5"


def test_json_and_literal_metadata_of_2014_agree(tmp_path: Path) -> None:
    literal, plain = (write(tmp_path, 2014, literal=kind).load().items for kind in (True, False))
    assert literal is not None
    assert plain is not None
    assert literal.equals(plain)


def test_lists_of_any_depth_hold_texts_in_their_order(tmp_path: Path) -> None:
    source = write(tmp_path, 2018)
    deep = "[" * 900 + '"deep"' + "]" * 900  # what the parser reads, the reader must flatten
    (tmp_path / "metadata").write_text(f'{{"asin": "B1", "description": ["a", {deep}, ["b", "c"]]}}')
    items = source.load().items
    assert items is not None
    assert items["description"].to_list()[0] == "a deep b c"


def test_missing_texts_and_second_records(tmp_path: Path) -> None:
    source = write(tmp_path, 2018)
    records = [{"asin": "B2"}, {"asin": "B2", "title": "second record"}, {"asin": "B1", "title": ["a", "b"]}]
    (tmp_path / "metadata").write_text("\n".join(map(json.dumps, records)))
    items = source.load().items
    assert items is not None
    assert items.rows() == [("B2", "", None, [], None, [], None), ("B1", "a b", None, [], None, [], None)]


@pytest.mark.parametrize(
    ("file", "line", "message"),
    [
        ("reviews", b'{"reviewerID": "A1", ', "reviews, line 3: malformed record"),
        ("reviews", b'["A1"]', "reviews, line 3: wanted one record"),
        ("reviews", b'{"reviewerID": "A1", "unixReviewTime": 1}', "line 3: field asin is None, wanted str"),
        (
            "reviews",
            b'{"reviewerID": "A1", "asin": "B1", "unixReviewTime": "1"}',
            "field unixReviewTime is '1', wanted int",
        ),
        (
            "reviews",
            b'{"reviewerID": "A1", "asin": "B1", "unixReviewTime": 1%s}' % (b"0" * 30),
            "field unixReviewTime is 1000",
        ),
        ("reviews", b'{"reviewerID": "\xff"}', r"line 3, byte \d+: not UTF-8"),
        ("metadata", b"{'asin': __import__('os').getcwd()}", "metadata, line 4: malformed record"),
        ("metadata", b"{'asin': 'B1'", "metadata, line 4: malformed record"),
        ("metadata", b"{'title': 'no id'}", "line 4: field asin"),
    ],
    ids=["cut JSON", "list", "no item", "time as text", "time of 31 digits", "latin-1", "code", "cut literal", "no id"],
)
def test_bad_lines_are_named(tmp_path: Path, file: str, line: bytes, message: str) -> None:
    source = write(tmp_path, 2014, literal=True)
    with (tmp_path / file).open("ab") as stream:
        stream.write(line + b"\n")
    with pytest.raises(DataError, match=message):
        source.load()


@pytest.mark.parametrize(
    ("year", "time", "unit"), [(2014, 1_400_000_000_000, "seconds"), (2023, 1_700_000_000_000_000, "milliseconds")]
)
def test_times_of_another_unit_are_refused(tmp_path: Path, year: int, time: int, unit: str) -> None:
    source = write(tmp_path, year)
    record = REVIEWS[year][0]
    name = "timestamp" if "timestamp" in record else "unixReviewTime"
    with (tmp_path / "reviews").open("a") as stream:
        stream.write(json.dumps(record | {name: time}) + "\n")
    with pytest.raises(DataError, match=f"{name} reaches {time}, which is no date .* whose times are {unit};"):
        source.load()


def test_seconds_are_no_milliseconds(tmp_path: Path) -> None:
    source = write(tmp_path, 2023)
    (tmp_path / "reviews").write_text(json.dumps(REVIEWS[2023][0] | {"timestamp": 1_700_000_000}) + "\n")
    with pytest.raises(
        DataError, match=r"reaches 1700000000, which is no date .* whose times are milliseconds; convert them"
    ):
        source.load()


def test_empty_file(tmp_path: Path) -> None:
    source = write(tmp_path, 2014)
    (tmp_path / "reviews").write_bytes(b"")
    with pytest.raises(DataError, match="reviews is empty"):
        source.load()


def test_cut_gzip(tmp_path: Path) -> None:
    source = write(tmp_path, 2014, zipped=True)
    (tmp_path / "reviews").write_bytes((tmp_path / "reviews").read_bytes()[:-12])
    with pytest.raises(DataError, match="breaks off"):
        source.load()


def test_absent_files_and_unknown_year(tmp_path: Path) -> None:
    source = write(tmp_path, 2014)
    (tmp_path / "metadata").unlink()
    with pytest.raises(FileNotFoundError, match=r"no file metadata .*dataset\.metadata=FILE"):
        source.load()
    with pytest.raises(ValueError, match="2016, wanted one of the releases 2014, 2018, 2023"):
        Amazon("a", "b", 2016)


def test_fingerprint_knows_the_release_not_the_place(tmp_path: Path) -> None:
    source = write(tmp_path, 2014)
    assert source.fingerprint() != Amazon(source.reviews, source.metadata, 2018).fingerprint()
    assert str(tmp_path) not in str(source.fingerprint())


def test_byte_order_marks_surrogates_and_blanks(tmp_path: Path) -> None:
    source = write(tmp_path, 2018)
    review = '{"reviewerID": " A1", "asin": "B1 ", "unixReviewTime": 5, "overall": 4.0}\n'
    (tmp_path / "reviews").write_bytes(b"\xef\xbb\xbf" + review.encode())
    (tmp_path / "metadata").write_text('{"asin": " B1", "title": "Tea \\ud83d &lt;hot&gt;"}', encoding="utf-16")
    raw = source.load("overall")
    assert raw.interactions.collect().rows() == [("A1", "B1", 5, "4.0")]
    assert raw.items is not None
    assert raw.items["title"].to_list() == ["Tea \ufffd <hot>"]
    with pytest.raises(DataError, match="no record has a field stars, which a filter reads"):
        source.load("stars")


def test_metadata_of_items_without_reviews_are_read_for_the_whole_catalogue(tmp_path: Path) -> None:
    source = write(tmp_path, 2014)
    whole = dataclasses.replace(source, catalogue="all")
    reviewed, every = (one.load().items for one in (source, whole))
    assert reviewed is not None
    assert every is not None
    assert (reviewed["item_id"].to_list(), every["item_id"].to_list()) == (["B1"], ["B1", "B9"])
    assert every["title"][1] == "never reviewed"
    assert "catalogue" not in source.fingerprint(), "keys of earlier versions stay"
    assert whole.fingerprint() != source.fingerprint()
