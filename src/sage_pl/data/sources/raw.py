"""The result of every data source, and the checks that all of them share."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import polars as pl

from sage_pl.errors import MissingFileError, SettingError

COLUMNS = ("user_id", "item_id", "timestamp")  # of interactions
CLOCK = "unix_time"  # real times beside timestamps that are positions


class DataError(SettingError):
    """Unusable data; the message names what was got, what was expected and what helps."""


class RawData(NamedTuple):
    """Interactions and item texts under the source's own ids.

    ``interactions`` has ``user_id`` and ``item_id`` (integers or strings) and ``timestamp`` (Int64: Unix seconds, or the
    0-based position in the user's sequence). Its row order decides ids and the order of equal times. The optional column
    ``unix_time`` (Int64, null where unknown) is the real time of an event whose timestamp is a position. ``items`` has one
    row per ``item_id`` and at least the text column ``title``; None where the source has no text.
    """

    interactions: pl.LazyFrame
    items: pl.DataFrame | None


class Source(Protocol):
    """Where interactions come from."""

    def load(self) -> RawData: ...

    def fingerprint(self) -> dict[str, Any]:
        """Identity of the data: sha256 of the files and the parameters that matter, never a path."""
        ...


def unix_seconds(date: str) -> int:
    """Unix seconds of an ISO date in UTC, midnight without a time.

    Raises:
        SettingError: it is no such date.
    """
    try:
        return int(dt.datetime.fromisoformat(date).replace(tzinfo=dt.UTC).timestamp())
    except ValueError as error:
        raise SettingError(f"{date!r} is no date; wanted YYYY-MM-DD[ hh:mm:ss]") from error


def require_file(path: Path, help: str) -> Path:
    """The path itself, if it is a file.

    Raises:
        MissingFileError: it is not; ``help`` ends the message.
    """
    if not path.is_file():
        folder = "" if path.parent.is_dir() else ", which does not exist"
        raise MissingFileError(f"no file {path.name} in folder {path.parent.absolute()}{folder}; {help}")
    return path


def require_columns(columns: Iterable[str], names: Iterable[str], where: str, help: str) -> None:
    """Raise DataError if ``columns`` lacks one of ``names``."""
    columns = list(columns)
    if absent := [name for name in names if name not in columns]:
        raise DataError(f"{where} has no column {', '.join(absent)}; it has: {', '.join(columns)}. {help}")


def check_items(items: pl.DataFrame, where: str) -> pl.DataFrame:
    """The item table itself, if it has a ``title`` text for each item and each item once.

    Raises:
        DataError: a column is missing or of the wrong type, an id or title is null, or an id occurs twice.
    """
    help = "Every item needs an id and a text; use '' for no text."
    require_columns(items.columns, ["item_id", "title"], where, help)
    if items.schema["title"] != pl.String:
        raise DataError(f"column title of {where} is {items.schema['title']}, wanted text (String)")
    for column in ("item_id", "title"):
        if nulls := items[column].null_count():
            raise DataError(f"column {column} of {where} is null in {nulls} of {items.height} rows; use '' for no text")
    twice = items.filter(pl.col("item_id").is_duplicated())
    if twice.height:
        raise DataError(
            f"{where} has {twice.height} rows for {twice['item_id'].n_unique()} repeated item_ids, "
            f"for example {twice['item_id'][0]!r}; keep one row per item"
        )
    return items
