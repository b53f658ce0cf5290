"""Readers of text files line by line, plain or gzip, with errors that name file and line."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, cast

import polars as pl

from sage_pl.data.sources.raw import DataError

CHUNK = 500_000  # rows that are Python objects at a time
Record = dict[str, Any]


def open_bytes(path: Path) -> BinaryIO:
    """A file's bytes, decompressed if its first two are those of gzip, whatever its name."""
    with path.open("rb") as stream:
        zipped = stream.read(2) == b"\x1f\x8b"
    return cast(BinaryIO, gzip.open(path, "rb")) if zipped else path.open("rb")


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The non-blank lines with their 1-based numbers.

    Raises:
        DataError: a line is not UTF-8, or the gzip stream is damaged.
    """
    start, number = 0, 0
    with open_bytes(path) as stream:
        try:
            for number, line in enumerate(stream, 1):
                text = line.decode("utf-8")
                if not text.isspace():
                    yield number, text
                start += len(line)
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path}, line {number}, byte {start + error.start}: not UTF-8 text ({error.reason}); "
                f"convert it: iconv -f LATIN1 -t UTF-8 {path.name}"
            ) from error
        except (gzip.BadGzipFile, EOFError) as error:
            raise DataError(f"{path} breaks off after line {number} ({error}); fetch the file again") from error


def records(path: Path, parse: Callable[[str], Any] = json.loads) -> Iterator[tuple[int, Record]]:
    """One mapping per line, with the line's number.

    Raises:
        DataError: a line is malformed or no mapping.
    """
    for number, line in numbered_lines(path):
        try:
            record = parse(line)
        except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
            raise DataError(f"{path}, line {number}: malformed record ({error}): {line[:80]!r}") from error
        if not isinstance(record, dict):
            got = type(record).__name__
            raise DataError(f"{path}, line {number}: wanted one record {{...}}, got {got}: {line[:80]!r}")
        yield number, record


def field(record: Record, name: str, kind: type, path: Path, number: int) -> Any:
    """A non-empty field of type ``kind``.

    Raises:
        DataError: it is absent, empty or of another type.
    """
    value = record.get(name)
    if not isinstance(value, kind) or isinstance(value, bool) or value == "":
        raise DataError(
            f"{path}, line {number}: field {name} is {value!r}, wanted {kind.__name__}; the record has: {', '.join(record)}"
        )
    return value


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
