"""Generated files, read as Python's csv module and pandas read them."""

from __future__ import annotations

import bz2
import csv
import datetime as dt
import gzip
import io
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sage_pl.data.sources.csv import CSV
from sage_pl.data.sources.raw import DataError

ids = st.text("abäß0123 -_.", min_size=1, max_size=4).filter(lambda text: text.strip() != "")
titles = st.text("abé \"'\n\t,;|:&<7", max_size=12)
seconds = st.integers(0, 4_000_000_000)
events = st.lists(st.tuples(ids, ids, seconds, titles), min_size=1, max_size=8)
quick = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
HEADER = ["user", "item", "time", "title"]


def read(path: Path, **options: Any) -> list[tuple[str, str, int]]:
    return CSV(path, **options).load().interactions.collect().rows()


def or_asks(path: Path, **options: Any) -> list[tuple[str, str, int]] | None:
    """What is read, or None where a title looks like a row, which is left to the user to decide."""
    try:
        return read(path, **options)
    except DataError as error:
        if "stray quotes; say which" in str(error):
            return None
        raise


def stripped(rows: list[tuple[str, str, int, str]]) -> list[tuple[str, str, int]]:
    return [(user.strip(), item.strip(), time) for user, item, time, _ in rows]


def written(rows: list[Any], **form: Any) -> str:
    stream = io.StringIO(newline="")
    csv.writer(stream, **form).writerows([HEADER, *rows])
    return stream.getvalue()


@quick
@given(
    rows=events,
    separator=st.sampled_from(",;\t|"),
    named=st.booleans(),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    end=st.sampled_from(["\n", "\r\n"]),
    text=st.booleans(),
)
def test_what_the_csv_module_writes_is_read_or_refused_by_line(
    tmp_path: Path, rows: list[Any], separator: str, named: bool, quoting: Any, end: str, text: bool
) -> None:
    path = tmp_path / "file.csv"
    content = written(rows, delimiter=separator, quoting=quoting, lineterminator=end)
    path.write_text(content, encoding="utf-8", newline="")
    options = {"separator": separator if named else "auto", "text": "title" if text else None}
    assert read(path, **options, quote='"') == stripped(rows)
    assert or_asks(path, **options) in (stripped(rows), None)


@quick
@given(rows=events, separator=st.sampled_from(["\t", ";", "|", "::"]))
def test_quotes_that_nobody_closes_swallow_no_row(tmp_path: Path, rows: list[Any], separator: str) -> None:
    """Titles with quotes anywhere, written without quoting: pandas needs quoting=csv.QUOTE_NONE for them."""
    clean = [(u, i, t, "".join(letter for letter in title if letter not in "\n\t;|:")) for u, i, t, title in rows]
    path = tmp_path / "file.csv"
    lines = [separator.join(map(str, row)) for row in [HEADER, *clean]]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert read(path, separator=separator, quote=None) == stripped(rows)
    assert or_asks(path, separator=separator) in (stripped(rows), None)


@quick
@given(rows=events, sep=st.sampled_from(",;\t"))
def test_pandas_reads_the_same(tmp_path: Path, rows: list[Any], sep: str) -> None:
    pandas = pytest.importorskip("pandas")
    path = tmp_path / "file.csv"
    path.write_text(written(rows, delimiter=sep, lineterminator="\n"), encoding="utf-8", newline="")
    other = pandas.read_csv(path, sep=sep, dtype=str, keep_default_na=False)
    wanted = [
        (u.strip(), i.strip(), int(t)) for u, i, t in zip(other["user"], other["item"], other["time"], strict=True)
    ]
    assert read(path, separator=sep, quote='"') == wanted


@quick
@given(
    rows=events,
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32", "latin-1", "cp1252"]),
    pack=st.sampled_from(["plain", "gzip", "bz2", "xz", "zip"]),
)
def test_encodings_and_compression(tmp_path: Path, rows: list[Any], encoding: str, pack: str) -> None:
    data, path = written(rows).encode(encoding), tmp_path / "file.csv"
    packers: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}
    if pack == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("inside.csv", data)
    else:
        path.write_bytes(packers.get(pack, bytes)(data))
    options = {"encoding": encoding} if encoding in ("latin-1", "cp1252") else {}
    assert read(path, separator=",", quote='"', **options) == stripped(rows)


zones = st.sampled_from(["", "Z", " UTC", "+00:00", "+0530", "-08:00", "+01"])
moments = st.datetimes(dt.datetime(1971, 1, 1), dt.datetime(2100, 1, 1))


@quick
@given(
    times=st.lists(st.tuples(moments, zones, st.sampled_from(" T"), st.sampled_from([0, 3, 6])), min_size=1, max_size=9)
)
def test_dates_are_those_of_python(tmp_path: Path, times: list[tuple[dt.datetime, str, str, int]]) -> None:
    path, lines, exact = tmp_path / "file.csv", ["user,item,time"], []
    for number, (moment, zone, between, digits) in enumerate(times):
        fraction = f".{moment.microsecond:06d}"[: digits + 1] if digits else ""
        text = f"{moment:%Y-%m-%d}{between}{moment:%H:%M:%S}{fraction}{zone}"
        lines.append(f"u,i{number},{text}")
        sign, hours, minutes = 1, 0, 0
        if zone[:1] in ("+", "-"):
            plain = zone[1:].replace(":", "")
            sign, hours, minutes = (-1 if zone[0] == "-" else 1), int(plain[:2]), int(plain[2:] or 0)
        offset = dt.timezone(sign * dt.timedelta(hours=hours, minutes=minutes))
        exact.append(
            (int(moment.replace(microsecond=0, tzinfo=offset).timestamp()), int(fraction[1:].ljust(6, "0")), number)
        )
    path.write_text("\n".join(lines))
    result = CSV(path).load().interactions.collect().sort("timestamp", maintain_order=True)
    assert result["timestamp"].to_list() == [time for time, _, _ in sorted(exact)]
    assert result["item_id"].to_list() == [f"i{number}" for _, _, number in sorted(exact)]


@quick
@given(
    times=st.lists(st.integers(200_000_000_000, 4_000_000_000_000), min_size=1, max_size=9),
    unit=st.sampled_from([1, 1000, 1_000_000]),
)
def test_units_become_seconds_in_exact_order(tmp_path: Path, times: list[int], unit: int) -> None:
    path = tmp_path / "file.csv"
    path.write_text("user,item,time\n" + "".join(f"u,i{n},{time * unit}\n" for n, time in enumerate(times)))
    raw = CSV(path).load()
    result = raw.interactions.collect().sort("timestamp", maintain_order=True)
    order = sorted(range(len(times)), key=lambda n: times[n])
    assert result["timestamp"].to_list() == [times[n] // 1000 for n in order]
    assert result["item_id"].to_list() == [f"i{n}" for n in order]
    assert any("seconds, which become whole seconds" in note for note in raw.notes)


def test_a_clean_file_is_read_as_by_the_csv_module(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    rows = [(f"u{n % 97}", f"i{n % 31}", n, "") for n in range(5000)]
    path.write_text(written(rows))
    assert read(path) == stripped(rows)
    assert CSV(path).load().interactions.collect().schema["timestamp"] == pl.Int64
