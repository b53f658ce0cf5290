"""Readers of text files line by line, with errors that name file and line."""

from __future__ import annotations

import codecs
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl

from sage_pl.data.sources.compressed import open_bytes
from sage_pl.data.sources.raw import DataError

CHUNK = 500_000  # rows that are Python objects at a time
AUTO = "auto"
_MARKS = {  # byte order marks; that of UTF-32 begins with that of UTF-16
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
Record = dict[str, Any]


def encoding_of(path: Path, encoding: str = AUTO) -> str:
    """The encoding that the file's byte order mark names; without one, ``encoding``, and UTF-8 for ``auto``.

    Raises:
        DataError: Python knows no such encoding.
    """
    with open_bytes(path) as stream:
        head = stream.read(4)
    if marked := next((name for mark, name in _MARKS.items() if head.startswith(mark)), None):
        return marked
    try:
        return codecs.lookup("utf-8" if encoding == AUTO else encoding).name
    except LookupError as error:
        raise DataError(
            f"dataset.encoding is {encoding!r}, wanted auto, utf-8, latin-1, cp1252, utf-16-le, ..."
        ) from error


def text_lines(path: Path, encoding: str = AUTO) -> Iterator[str]:
    """The lines of a text file with their ends (``\\n``, ``\\r\\n`` or ``\\r``), without a byte order mark.

    Raises:
        DataError: a line is not of the encoding or holds a NUL, or a compressed file is damaged.
    """
    name = encoding_of(path, encoding)
    with open_bytes(path) as stream, io.TextIOWrapper(stream, name, newline="") as text:
        try:
            for number, line in enumerate(text, 1):
                if "\0" in line:
                    raise DataError(
                        f"{path}, line {number}: a NUL byte, so the file is not text, or UTF-16 without a byte order mark; "
                        f"convert it: iconv -f UTF-16LE -t UTF-8 {path.name} (dataset=csv: dataset.encoding=utf-16-le)"
                    )
                yield line
        except UnicodeDecodeError as error:
            raise _not_text(path, name, error) from error


def _not_text(path: Path, encoding: str, error: UnicodeDecodeError) -> DataError:
    """The error with the line and the byte, which a buffered reader does not know."""
    label = encoding.removesuffix("-sig").upper()
    if label != "UTF-8":
        return DataError(f"{path} is not {label} text ({error.reason}); name its encoding with dataset.encoding")
    start = 0
    with open_bytes(path) as stream:
        for number, line in enumerate(stream, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as exact:
                return DataError(
                    f"{path}, line {number}, byte {start + exact.start}: not UTF-8 text ({exact.reason}); "
                    f"convert it: iconv -f LATIN1 -t UTF-8 {path.name} (dataset=csv: dataset.encoding=latin-1)"
                )
            start += len(line)
    return DataError(f"{path} is not UTF-8 text ({error.reason})")


def numbered_lines(path: Path, encoding: str = AUTO) -> Iterator[tuple[int, str]]:
    """The non-blank lines with their 1-based numbers; raises as :func:`text_lines`."""
    return ((number, line) for number, line in enumerate(text_lines(path, encoding), 1) if not line.isspace())


def records(path: Path, parse: Callable[[str], Any] = json.loads, encoding: str = AUTO) -> Iterator[tuple[int, Record]]:
    """One mapping per line, with the line's number.

    Raises:
        DataError: a line is malformed or no mapping.
    """
    for number, line in numbered_lines(path, encoding):
        try:
            record = parse(line)
        except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
            raise DataError(f"{path}, line {number}: malformed record ({error}): {line[:80]!r}") from error
        if not isinstance(record, dict):
            got = type(record).__name__
            raise DataError(f"{path}, line {number}: wanted one record {{...}}, got {got}: {line[:80]!r}")
        yield number, record


def field(record: Record, name: str, kind: type, path: Path, number: int) -> Any:
    """A non-empty field of type ``kind``; whole numbers have at most 64 bits.

    Raises:
        DataError: it is absent, empty, too large or of another type.
    """
    value = record.get(name)
    too_large = isinstance(value, int) and not -(2**63) <= value < 2**63
    if not isinstance(value, kind) or isinstance(value, bool) or value == "" or too_large:
        raise DataError(
            f"{path}, line {number}: field {name} is {value!r}, wanted {kind.__name__}; the record has: {', '.join(record)}"
        )
    return value


def identifier(record: Record, name: str, path: Path, number: int) -> str:
    """An id without the blanks around it.

    Raises:
        DataError: it is absent, empty, blank or no text, or holds half of a surrogate pair.
    """
    value = field(record, name, str, path, number)
    stripped: str = value.strip()
    if not stripped or not _is_encodable(stripped):
        raise DataError(f"{path}, line {number}: field {name} is {value!r}, wanted an id")
    return stripped


def _is_encodable(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text)


def cell(record: Record, name: str, path: Path, number: int) -> str:
    """A field as text: '' where it is absent, numbers and truth values as JSON writes them.

    Raises:
        DataError: it holds half of a surrogate pair.
    """
    value = record.get(name)
    text = value if isinstance(value, str) else "" if value is None else json.dumps(value)
    if not _is_encodable(text):
        raise DataError(f"{path}, line {number}: field {name} is {value!r}, which holds half of a surrogate pair")
    return text


def require_fields(frame: pl.DataFrame, columns: Sequence[str], path: Path) -> None:
    """Refuse further columns that no record has."""
    for name in columns:
        if (frame[name] == "").all():
            raise DataError(f"{path}: no record has a field {name}, which a filter reads; see dataset.filters")


def frame_of(rows: Iterator[tuple[Any, ...]], schema: Mapping[str, Any]) -> pl.DataFrame:
    """A table of the rows, built in chunks of :data:`CHUNK` to save memory."""
    parts = [pl.DataFrame(schema=schema)]
    while chunk := list(islice(rows, CHUNK)):
        parts.append(pl.DataFrame(chunk, schema=schema, orient="row"))
    return pl.concat(parts)


def require_rows(frame: pl.DataFrame, path: Path) -> None:
    """Refuse a file without records."""
    if frame.is_empty():
        raise DataError(f"{path} is empty; wanted one interaction per line")
