"""Files as people have them: any separator, header, encoding and line end."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from sage_pl.data.sources.csv import CSV
from sage_pl.data.sources.raw import DataError
from sage_pl.errors import SettingError

EVENTS = [("7", "x", 30), ("7", "y", 10), ("8", "x", 20)]


def load(folder: Path, content: str | bytes, name: str = "file.csv", **options: Any) -> list[Any]:
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return CSV(folder / name, **options).load().interactions.collect().rows()


def zstd(content: bytes) -> bytes:
    """A frame of one raw block."""
    last_block = (len(content) << 3 | 1).to_bytes(3, "little")
    return b"\x28\xb5\x2f\xfd\xa0" + len(content).to_bytes(4, "little") + last_block + content


@pytest.mark.parametrize("separator", ["\t", ",", ";", "|", "::", " ", "   "], ids=repr)
@pytest.mark.parametrize("header", [True, False], ids=["header", "numbers"])
def test_the_separator_is_found(tmp_path: Path, separator: str, header: bool) -> None:
    rows = [separator.join(map(str, row)) for row in EVENTS]
    names = {} if header else {"user": 1, "item": 2, "time": 3}
    top = [separator.join(["user", "item", "time"])] if header else []
    assert load(tmp_path, "\n".join(top + rows), **names) == EVENTS


@pytest.mark.parametrize(
    "content",
    [
        "user,item,time\n7,x,30\n\n7,y,10\n  \n8,x,20\n\n\n",
        "\n\nuser,item,time\n7,x,30\n7,y,10\n8,x,20",
        "user,item,time\r\n7,x,30\r\n7,y,10\r\n8,x,20\r\n",
        "user,item,time\r7,x,30\r7,y,10\r8,x,20\r",
        " user , item , time \n 7 ,x , 30\n7, y,10 \n8,x,20\n",
        '"user","item","time"\n"7","x","30"\n"7"," y ","10"\n"8","x","20"\n',
        "user,item,time\n7,x,30\n7,\u00a0y,10\n8,x,20\n",
        "time,note,item,user\n30,,x,7\n10,a,y,7\n20,,x,8\n",
    ],
    ids=["blank lines", "blank start", "crlf", "cr", "blanks", "all quoted", "no-break space", "other order"],
)
def test_the_same_events(tmp_path: Path, content: str) -> None:
    assert load(tmp_path, content) == EVENTS
    assert load(tmp_path, gzip.compress(content.encode(), mtime=0)) == EVENTS


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("user,item,time\n7,x\n", {}, "line 2: 2 fields, wanted 3"),
        ("user,item,time\n7,x,1\n7,y,2,3\n8,x\n", {}, "line 3: 4 fields, wanted 3"),
        ("user,item,item,time\n7,x,y,1\n", {}, "2 columns item, wanted one"),
        ("user,item,time\n7,x,1\n , y,2\n", {}, "user is empty in 1 of 2 rows, line 3"),
        ('user,item,time\n7,x,1\n8,"  ",2\n', {}, "item is empty in 1 of 2 rows, line 3"),
        ("user,item,time\n7,x,1600000000\n7,y,1600000000000\n", {}, r"seconds in 1 rows \(line 2\); milli.* \(line 3\)"),
        ("user,item,time\n7,x,1600000000\n7,y,2020-01-01\n7,z,5\n", {}, "time is '2020-01-01' in line 3"),
        ("user,item,time\n7,x,01/02/2020\n", {"time_format": "%d-%m-%Y"}, "in line 2, wanted the format %d-%m-%Y"),
        ("user,item,time\n7,x,1\n", {"time": "tiem"}, r"no column tiem \(nearest: time\)"),
        ("user,item,time\n7,x,1\n", {"encoding": "klingon"}, "dataset.encoding is 'klingon'"),
        ("user,item,time\n7,x,1\n".encode("utf-16-le"), {}, r"NUL byte.*dataset\.encoding=utf-16-le"),
        (b"user,item,time\n7,caf\xe9,1\n", {}, r"line 2, byte 20: not UTF-8.*dataset\.encoding=latin-1"),
        ("user,item,time\n7,x,1\n".encode("utf-16")[:-1], {}, "is not UTF-16 text"),
        ('[{"user": 1}]', {}, "one JSON list, wanted one record per line"),
        ('{"user": "7", "item": "x", "time": 1}\n{"user": "7", "time": 1}\n', {}, "item is empty in 1 of 2 rows, line 2"),
        ('{"user": "7", "item": "\\ud83d", "time": 1}\n', {}, "line 1: field item is .* half of a surrogate pair"),
        ('{"user": "7", "item": "x", "when": 1}\n', {}, r"no column time; it has: user, item, when"),
        (b"\x28\xb5\x2f\xfd....", {}, "breaks off or is damaged"),
        (zstd("\ufeffuser,item,time\n".encode("utf-16")), {}, r"cannot read unless its text is UTF-8; .*zstd -d|no column"),
        (b"PAR1....", {}, "is a parquet file, wanted a text file"),
        (b"7z\xbc\xaf....", {}, "is a 7z archive"),
        (gzip.compress(b"user,item,time\n7,x,1\n" * 99, mtime=0)[:40], {}, "breaks off or is damaged"),
        (b"BZh91AY&SY damaged", {}, "breaks off or is damaged"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_is_one_sentence(
    tmp_path: Path, content: str | bytes, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message) as error:
        load(tmp_path, content, **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("names", "message"), [(["a.csv", "b.csv"], r"zip archive of 2 files \(a\.csv, b\.csv\), wanted one"),
                                                (["[Content_Types].xml", "x"], "Excel workbook")])  # fmt: skip
def test_other_archives_are_told_apart(tmp_path: Path, names: list[str], message: str) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in names:
            archive.writestr(name, "user,item,time\n")
    with pytest.raises(DataError, match=message):
        load(tmp_path, stream.getvalue())


STRAY = "user\titem\ttime\ttitle\n7\tx\t30\t{}\n7\ty\t10\tplain\n8\tx\t20\t{}\n"


@pytest.mark.parametrize(
    ("titles", "how"),
    [
        (('12" mix', '7" mix'), "read"),
        (('"Heroes" (live)', "x"), "read"),
        (('"open', "x"), "read"),
        (("x", '"open'), "read"),
        (('"open', '7" mix'), "read"),
        (('"open', 'closed"'), "refused"),  # a well-formed field of three lines, or two stray quotes
    ],
)
def test_stray_quotes_swallow_no_row(tmp_path: Path, titles: tuple[str, str], how: str) -> None:
    content = STRAY.format(*titles)
    if how == "refused":
        with pytest.raises(DataError, match=r"lines 2 to 4 are one row .*or dataset\.quote=null"):
            load(tmp_path, content)
    else:
        assert load(tmp_path, content) == EVENTS
    assert load(tmp_path, content, quote=None) == EVENTS


def test_quotes_of_another_kind(tmp_path: Path) -> None:
    content = "user,item,time,title\n7,x,30,'a, b'\n7,y,10,\"\n8,x,20,'it''s\ntwo lines'\n"
    assert load(tmp_path, content, quote="'") == EVENTS
    with pytest.raises(DataError, match="line 2: 5 fields, wanted 4"):
        load(tmp_path, content)
    with pytest.raises(SettingError, match=r"dataset\.quote is 'ab', wanted one character"):
        load(tmp_path, content, quote="ab")
    with pytest.raises(SettingError, match=r"dataset\.header is 'perhaps'"):
        load(tmp_path, content, header="perhaps")


def test_titles_of_several_columns_and_of_a_second_file(tmp_path: Path) -> None:
    events = "7::x::30\n7::y::10\n8::x::20\n"
    (tmp_path / "items.dat").write_bytes("x|Caf\xe9 &amp; more|Food\ny||Tea\nz|never bought|\n".encode("latin-1"))
    columns = {"user": 1, "item": 2, "time": 3, "items_key": 1, "text": [2, 3], "items": tmp_path / "items.dat"}
    (tmp_path / "file.csv").write_text(events)
    raw = CSV(tmp_path / "file.csv", **columns, encoding="latin-1").load()
    assert raw.items is not None
    assert raw.items.columns == ["item_id", "title", "column 3"]
    assert raw.items.rows() == [("x", "Café & more", "Food"), ("y", "", "Tea"), ("z", "never bought", "")]
    with pytest.raises(SettingError, match=r"dataset\.text names none"):
        CSV(tmp_path / "file.csv", items="items.dat")
    with pytest.raises(SettingError, match="wanted each column once"):
        CSV(tmp_path / "file.csv", text=["name", "title"])


def test_json_lines(tmp_path: Path) -> None:
    rows = [
        {"user": 7, "item": "x", "time": "1970-01-01T00:00:30Z", "title": ["Tea", "&lt;hot&gt; \ud83d"]},
        {"user": 7, "item": " y", "time": "1970-01-01T00:00:10Z"},
        {"user": 8, "item": "x", "time": "1970-01-01T00:00:20Z", "stars": 4.5},
    ]
    assert load(tmp_path, "\n".join(map(json.dumps, rows))) == EVENTS
    raw = CSV(tmp_path / "file.csv", text="title").load("stars")
    assert raw.items is not None
    assert raw.items.rows() == [("x", "Tea, <hot> \ufffd"), ("y", "")]
    assert raw.interactions.collect()["stars"].to_list() == ["", "", "4.5"]


@pytest.mark.parametrize(
    ("times", "form", "seconds"),
    [
        (["20200914", "20200915"], "auto", [1600041600, 1600128000]),
        (["20200914165547", "20200914165548"], "auto", [1600102547, 1600102548]),
        (["20200914", "20200915"], "s", [20200914, 20200915]),
        (["1600102547.9", "1600102547.1"], "auto", [1600102547, 1600102547]),
        (["-1.5", "-1"], "auto", [-2, -1]),
        (["0", "1"], "auto", [0, 1]),
        (["1600102547", "5"], "ms", [1600102, 0]),
        (["14.09.2020 16:55", "15.09.2020 00:00"], "%d.%m.%Y %H:%M", [1600102500, 1600128000]),
        (["14/09/2020", "15/09/2020"], "%d/%m/%Y", [1600041600, 1600128000]),
        (["14/09/2020", "31/12/9999"], "%d/%m/%Y", [1600041600, 253402214400]),
        (
            ["14/Sep/2020:16:55:47 +0100", "14/Sep/2020:16:55:47 +0000"],
            "%d/%b/%Y:%H:%M:%S %z",
            [1600098947, 1600102547],
        ),
        (["2020-09-14", "2020-09-14T16:55:47.123456789+02:00"], "auto", [1600041600, 1600095347]),
        (["1600102547123456789", "1600102548123456789"], "auto", [1600102547, 1600102548]),
    ],
)
def test_times_of_every_form(tmp_path: Path, times: list[str], form: str, seconds: list[int]) -> None:
    content = "user,item,time\n" + "".join(f"u{n},x,{time}\n" for n, time in enumerate(times))
    assert [row[2] for row in load(tmp_path, content, time_format=form)] == seconds


def test_what_was_decided_is_logged_and_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    load(tmp_path, "user;item;time\n7;x ;1600102547000\n")
    for part in (
        "fields separated by ';'",
        "item: blanks around ids removed in 1 rows",
        "time: milliseconds, which become",
    ):
        assert part in caplog.text


def test_zstd_of_several_frames_is_read_whole(tmp_path: Path) -> None:
    """By Python from 3.14 on, by polars before; blank lines and a quoted line end stay."""
    path = tmp_path / "events.csv"
    path.write_bytes(zstd(b'user,item,time,title\r\n1,2,3,"a\nb"\r\n') + zstd(b"4,5,6,c\n\n7,8,9,last"))
    source = CSV(path, text="title", separator=",", quote='"')
    assert source.load().interactions.collect().rows() == [("1", "2", 3), ("4", "5", 6), ("7", "8", 9)]
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(DataError, match="breaks off or is damaged"):
        source.load()
