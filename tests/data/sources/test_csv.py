from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from sage_pl.data.sources.csv import CSV
from sage_pl.data.sources.raw import DataError

TEXT = "who,what,when,name\n007,x,3,\n007,y,1,Egg\n8,x,2,Tea\n8,z,5,\n9,x,6,Other tea\n"


def write(folder: Path, content: str | bytes = TEXT, **options: str) -> CSV:
    path = folder / "file.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return CSV(path, **({"user": "who", "item": "what", "time": "when"} | options))


def test_reads_interactions_and_first_texts(tmp_path: Path) -> None:
    raw = write(tmp_path, text="name").load()
    rows = [("007", "x", 3), ("007", "y", 1), ("8", "x", 2), ("8", "z", 5), ("9", "x", 6)]
    assert raw.interactions.collect().rows() == rows
    assert raw.items is not None
    assert raw.items.rows() == [("x", "Tea"), ("y", "Egg"), ("z", "")]


def test_text_separator_and_gzip(tmp_path: Path) -> None:
    plain = write(tmp_path).load().interactions.collect()
    other = write(tmp_path, gzip.compress(TEXT.replace(",", "\t").encode()), separator="\t").load()
    assert other.items is None
    assert other.interactions.collect().equals(plain)


@pytest.mark.parametrize(
    ("times", "seconds"),
    [
        (("1970-01-01", "1970-01-03"), [0, 172_800]),
        (("1970-01-01 00:00:10", "1970-01-01 01:00:00"), [10, 3600]),
        (("1970-01-01T00:00:10Z", "1970-01-01T01:00:00Z"), [10, 3600]),
        (("5.0", "7.0"), [5, 7]),
    ],
    ids=["days", "clock", "zulu", "whole floats"],
)
def test_times(tmp_path: Path, times: tuple[str, str], seconds: list[int]) -> None:
    source = write(tmp_path, f"who,what,when\n1,x,{times[0]}\n1,y,{times[1]}\n")
    assert source.load().interactions.collect()["timestamp"].to_list() == seconds


def test_fingerprint_knows_columns_not_places(tmp_path: Path) -> None:
    first = write(tmp_path).fingerprint()
    assert write(tmp_path, text="name").fingerprint() != first
    assert str(tmp_path) not in str(first)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("who,what,when\n", "header but no rows"),
        ("who,what\n1,x\n", r"no column when; it has: who, what; name the columns, which are now .*dataset\.time=when"),
        ("who,what,when\n1,x,1\n1,,2\n", "what is empty in 1 of 2 rows, line 3"),
        ("who,what,when\n1,x,1\n1,y,\n", "when is empty in 1 of 2 rows, line 3"),
        ("who,what,when\n1,x,1\n1,y,soon\n", "when is 'soon' in line 3"),
        ("who,what,when\n1,x,01/02/2020\n", "when is '01/02/2020' in line 2"),
        ("who,what,when\n1,x,2020-01-01\n1,y,2020-13-01\n", "when is '2020-13-01' in line 3"),
        ("who,what,when\n1,x,-1e3\n", "when is .-1e3. in line 2"),
        ("who,what,when\n1,x,1\n1,y,2,3\n", "line 3: 4 fields, wanted 3 as in the first row"),
        (b"who,what,when\n1,caf\xe9,1\n", "line 2, byte 19: not UTF-8.*iconv"),
    ],
    ids=[
        "empty",
        "no rows",
        "column",
        "null id",
        "null time",
        "word as time",
        "ambiguous date",
        "no date",
        "exponent",
        "ragged",
        "latin-1",
    ],
)
def test_bad_files_are_refused(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        write(tmp_path, content).load()


def test_absent_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no file x\.csv.*dataset\.path=FILE"):
        CSV(tmp_path / "x.csv").load()
