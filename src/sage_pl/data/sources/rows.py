"""The rows of a delimited text file, one by one, by Python's csv module."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from sage_pl.data.sources.lines import text_lines
from sage_pl.data.sources.raw import DataError

BLANKS = r"\s+"  # the separator that stands for any run of white space
SAMPLE = 100  # rows that show which columns hold numbers
_NUMBER = re.compile(r"\s*[+-]?\d[\d.,:+\-/TZ ]*(UTC|GMT)?\s*")
Row = tuple[int, list[str]]  # the number of its first line, its fields


class LayoutError(DataError):
    """Rows do not have the separator or the quotes that they were read with."""


def quoted_rows(path: Path, encoding: str, separator: str, quote: str, careful: bool) -> Iterator[Row]:
    """The rows with quotes read as Python's csv module reads them; blank lines are none.

    Args:
        path, encoding: the file.
        separator, quote: one character each.
        careful: refuse a field of several lines of which one looks like a row: a stray quote may have swallowed it.

    Raises:
        DataError: a quoted field is not closed (:class:`LayoutError`), or may be several rows.
    """
    raw: list[str] = []  # the lines of the row that is being read

    def lines() -> Iterator[str]:
        for line in text_lines(path, encoding):
            raw.append(line)
            yield line

    numeric: list[int] | None = None
    sample: list[list[str]] = []
    reader = csv.reader(lines(), delimiter=separator, quotechar=quote)
    start = 1
    try:
        for row in reader:
            if reader.line_num > start:
                _require_closed(raw, path, start, separator, quote)
                if careful and numeric is None:
                    numeric = _numeric_columns(sample)
                if careful and _holds_a_row(row, separator, numeric or []):
                    raise DataError(
                        f"{path}: lines {start} to {reader.line_num} are one row with a quoted field of several lines, or "
                        f"several rows with two stray quotes; say which: \"dataset.quote='{quote}'\" or dataset.quote=null"
                    )
            if len(row) > 1 or (row and not row[0].isspace()):
                if len(sample) < SAMPLE:
                    sample.append(row)
                yield start, row
            raw.clear()
            start = reader.line_num + 1
    except csv.Error as error:
        raise LayoutError(f"{path}, line {start}: {error}; a quote that opens there may not close") from error


def _require_closed(raw: list[str], path: Path, start: int, separator: str, quote: str) -> None:
    try:
        list(csv.reader(raw, delimiter=separator, quotechar=quote, strict=True))
    except csv.Error as error:
        raise LayoutError(
            f"{path}, line {start}: a quote opens a field there that is not closed before a separator ({error}); "
            "dataset.quote=null reads quotes as text"
        ) from error


def _numeric_columns(sample: list[list[str]]) -> list[int]:
    """The columns that hold a number or a date in nearly every row after the first, which may be a header."""
    rows = sample[1:] or sample
    width = min(map(len, rows), default=0)
    return [at for at in range(width) if 10 * sum(not _NUMBER.fullmatch(row[at]) for row in rows) <= len(rows)]


def _holds_a_row(row: list[str], separator: str, numeric: list[int]) -> bool:
    """Whether a line inside a field has as many fields as the row, with numbers where rows have numbers."""
    for field in row:
        for line in field.splitlines()[1:]:
            fields = line.split(separator)
            numbers = all(_NUMBER.fullmatch(fields[at]) for at in numeric if at < len(fields))
            if len(fields) == len(row) and numbers and (numeric or len(row) > 2):
                return True
    return False


def plain_rows(path: Path, encoding: str, separator: str, quote: str | None = None) -> Iterator[Row]:
    """The rows of a file in which each non-blank line is a row.

    Args:
        path, encoding: the file.
        separator: one or several characters, or :data:`BLANKS`.
        quote: removed where it stands at both ends of a field; None leaves all as text.
    """
    for number, line in enumerate(text_lines(path, encoding), 1):
        if line.isspace():
            continue
        text = line.rstrip("\r\n")
        fields = text.split() if separator == BLANKS else text.split(separator)
        yield number, fields if quote is None else [_unquoted(field, quote) for field in fields]


def _unquoted(field: str, quote: str) -> str:
    whole = len(field) > 1 and field[0] == quote == field[-1]
    return field[1:-1].replace(2 * quote, quote) if whole else field


def of_width(rows: Iterable[Row], width: int, path: Path, separator: str) -> Iterator[Row]:
    """The rows themselves, if each has ``width`` fields.

    Raises:
        LayoutError: one has more or fewer.
    """
    for number, row in rows:
        if len(row) != width:
            raise LayoutError(
                f"{path}, line {number}: {len(row)} fields, wanted {width} as in the first row (separator {separator!r}); "
                "mend the line, or name dataset.separator and dataset.quote"
            )
        yield number, row
