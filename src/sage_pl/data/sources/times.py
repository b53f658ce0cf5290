"""Times as text to Unix seconds: whole numbers of any unit, ISO 8601 dates, and dates of a named format."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import polars as pl

from sage_pl.data.sources.lines import AUTO
from sage_pl.data.sources.raw import DataError, numbers

UNITS = ("s", "ms", "us", "ns")
NAMES = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
_NUMBER = r"^([+-]?\d+)(?:\.(\d*))?$"
_DAY = r"(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"
_COMPACT = {"%Y%m%d": rf"^{_DAY}$", "%Y%m%d%H%M%S": rf"^{_DAY}(?:[01]\d|2[0-3])[0-5]\d[0-5]\d$"}
_REACH = 9_000_000_000  # seconds before and after 1970 that 64 bits of nanoseconds hold
_ISO = (
    r"^(\d{4}-\d\d-\d\d)"  # day
    r"(?:(?:T|t| +)(\d\d:\d\d)(?::(\d\d)(?:[.,](\d+))?)?)?"  # hours and minutes, seconds, fraction
    r" *(?:([+-])(\d\d):?(\d\d)?|Z|z|UTC|GMT)?$"  # offset
)


class Times(NamedTuple):
    """``seconds`` [rows] Int64, Unix seconds rounded down; ``nanos`` [rows] Int64, what rounding left; a note for the log."""

    seconds: pl.Series
    nanos: pl.Series
    note: str | None


def unit_of(times: pl.Series | pl.Expr) -> pl.Expr:
    """The number in :data:`UNITS` of the unit that a whole number has by its size; null for null."""
    expr = pl.lit(times) if isinstance(times, pl.Series) else times
    size = expr.abs()
    return sum(((size >= 10**power).cast(pl.Int8) for power in (11, 14, 17)), start=(size < 0).cast(pl.Int8))


def whole_times(name: str, kind: pl.DataType) -> pl.Expr:
    """A column of whole numbers, or of dates as nanoseconds, as Int64; null where a time does not fit."""
    column = pl.col(name)
    return column.cast(pl.Int64, strict=False) if kind.is_integer() else column.dt.epoch("ns")


def refuse_beyond(frame: pl.LazyFrame, name: str, where: str) -> None:
    """Refuse times that :func:`whole_times` would lose.

    Raises:
        DataError: with their number.
    """
    kind = frame.collect_schema()[name]
    if kind in (pl.Int64, pl.Int32, pl.Int16, pl.Int8, pl.Datetime("ns")):
        return
    lost = pl.col(name).is_not_null() & whole_times(name, kind).is_null()
    if count := frame.select(lost.sum()).collect(engine="streaming").item():
        raise DataError(
            f"column {name} of {where} has {count:,} times that do not fit: dates before 1677-09-22 or after 2262-04-11, or "
            "numbers of 2^63 and more; correct or drop these rows"
        )


Frame = TypeVar("Frame", pl.DataFrame, pl.LazyFrame)


def in_exact_order(frame: Frame) -> Frame:
    """Rows of one user and second, in places of their own, ordered by the column ``nanos``, which is dropped."""
    second = ["user_id", "timestamp"]
    return frame.with_columns(pl.exclude(*second).sort_by("nanos").over(second)).drop("nanos")


def unix_times(texts: pl.Series, lines: pl.Series, where: str, form: str = AUTO) -> Times:
    """Times without the blanks around them, as Unix seconds.

    Whole and decimal numbers are seconds below 10^11, milliseconds below 10^14, microseconds below 10^17 and nanoseconds from
    there, that is: each unit reaches back to 1973. Small numbers, such as positions, therefore stay as they are. Columns in
    which every row is a date such as 20200914 or 20200914165547 are dates. Dates without a zone are UTC.

    Args:
        texts: one per row; its name is the column's.
        lines: the line of each row, for messages.
        where: the file, for messages.
        form: ``auto``; one of :data:`UNITS`, which numbers then have; or a format of strptime, such as ``%d/%m/%Y``.

    Raises:
        DataError: a time is empty, of another kind than the others, or no time.
    """
    texts = texts.str.strip_chars()
    name = texts.name
    if count := (empty := texts.is_null() | (texts == "")).sum():
        raise DataError(
            f"{where}: {name} is empty in {count:,} of {len(texts):,} rows, {numbers(lines.filter(empty))}; fill or drop them"
        )
    note = None
    if form == AUTO and (
        day := next((form for form, dates in _COMPACT.items() if texts.str.contains(dates).all()), None)
    ):
        form, note = day, f"{name}: dates of the form {day}, read as UTC; dataset.time_format=s takes them as numbers"
    if form not in (AUTO, *UNITS):
        times, wish = _of_format(texts, form, note), f"the format {form}"
    else:
        mostly_dates = form == AUTO and 2 * texts.str.contains(_ISO).sum() > len(texts)
        times = _dates(texts) if mostly_dates else _numbers(texts, lines, where, form)
        wish = "an ISO date, as in most rows" if mostly_dates else "a whole number or, in every row, an ISO date"
    if (wrong := times.seconds.is_null()).any():
        row = wrong.arg_true()[0]
        raise DataError(
            f"{where}: {name} is {texts[row]!r} in {lines.name} {lines[row]}, wanted {wish}; other forms are named, for "
            "example dataset.time_format=%d/%m/%Y"
        )
    return times


def _numbers(texts: pl.Series, lines: pl.Series, where: str, form: str) -> Times:
    parts = texts.str.extract_groups(_NUMBER).struct.unnest()
    whole = parts["1"].cast(pl.Int64, strict=False)
    sizes = pl.select(unit_of(whole)).to_series()
    present = sizes.drop_nulls().unique().sort().to_list()
    if form == AUTO and len(present) > 1:
        groups = "; ".join(
            f"{NAMES[UNITS[code]]} in {(rows := (sizes == code).fill_null(False)).sum():,} rows "
            f"({numbers(lines.filter(rows))})"
            for code in present
        )
        raise DataError(f"{where}: {texts.name} has several units by the size of its numbers: {groups}; wanted one")
    unit = UNITS[present[0]] if form == AUTO and present else form if form in UNITS else "s"
    per = 1000 ** UNITS.index(unit)
    if per > 1:
        note = f"{texts.name}: {NAMES[unit]}, which become whole seconds"
        return Times(whole // per, (whole % per) * (10**9 // per), note)
    fraction = parts["2"].fill_null("").str.head(9).str.pad_end(9, "0").cast(pl.Int64, strict=False)
    below = (texts.str.starts_with("-") & (fraction > 0)).cast(pl.Int64)  # -1.5 lies in the second that begins at -2
    return Times(whole - below, below * 10**9 + fraction * (1 - 2 * below), None)


def _of_format(texts: pl.Series, form: str, note: str | None) -> Times:
    """Nanoseconds reach from 1677 to 2262; dates beyond them, such as 9999-12-31, are read to the microsecond."""
    fine, coarse = (texts.str.to_datetime(form, strict=False, time_unit=unit) for unit in ("ns", "us"))
    seconds = coarse.dt.epoch("s")
    within = seconds.is_between(-_REACH, _REACH)
    nanos = (fine.dt.epoch("ns") % 10**9).zip_with(within.fill_null(True), coarse.dt.epoch("us") % 10**6 * 1000)
    return Times(seconds, nanos, note)


def _dates(texts: pl.Series) -> Times:
    parts = texts.str.extract_groups(_ISO).struct.unnest()
    clock = parts["1"] + " " + parts["2"].fill_null("00:00") + ":" + parts["3"].fill_null("00")
    local = clock.str.to_datetime("%Y-%m-%d %H:%M:%S", strict=False).dt.epoch("s")
    hours, minutes = (parts[group].cast(pl.Int64).fill_null(0) for group in ("6", "7"))
    offset = (hours * 3600 + minutes * 60) * (1 - 2 * (parts["5"].fill_null("+") == "-").cast(pl.Int64))
    nanos = parts["4"].fill_null("").str.head(9).str.pad_end(9, "0").cast(pl.Int64)
    return Times(local - offset, nanos, None)
