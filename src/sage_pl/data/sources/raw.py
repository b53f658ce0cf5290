"""The result of every data source, and the checks that all of them share."""

from __future__ import annotations

import datetime as dt
import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import polars as pl

from sage_pl.artifacts.files import file_digest
from sage_pl.errors import MissingFileError, SettingError

if TYPE_CHECKING:
    from sage_pl.data.sources.csv import CSV

COLUMNS = ("user_id", "item_id", "timestamp")  # of interactions
CLOCK = "unix_time"  # real times beside timestamps that are positions
Catalogue = Literal["bought", "all"]  # items with events, or the whole table of items


class DataError(SettingError):
    """Unusable data; the message names what was got, what was expected and what helps."""


class RawData(NamedTuple):
    """Interactions and item texts under the source's own ids.

    ``interactions`` has ``user_id`` and ``item_id`` (integers or strings) and ``timestamp`` (Int64: Unix seconds, or the
    0-based position in the user's sequence). Its row order decides ids and the order of equal times. The optional column
    ``unix_time`` (Int64, null where unknown) is the real time of an event whose timestamp is a position. ``items`` has one
    row per ``item_id`` and at least the text column ``title``; None where the source has no text. ``notes`` say what the
    reader decided, for the report.
    """

    interactions: pl.LazyFrame
    items: pl.DataFrame | None
    notes: tuple[str, ...] = ()


class InputFile(NamedTuple):
    """A file that a source reads, and what helps where it is absent."""

    path: Path
    help: str


class Source(Protocol):
    """Where interactions come from."""

    def files(self) -> Mapping[str, InputFile]:
        """The files that :meth:`load` reads, present or not, under the names of their hashes in :meth:`fingerprint`."""
        ...

    def load(self, *columns: str) -> RawData:
        """The data; the interactions have the further ``columns`` too, which filters read.

        Raises:
            DataError: the source has no such column, or its data are unfit.
        """
        ...

    def fingerprint(self) -> dict[str, Any]:
        """Identity of the data: sha256 of the files and the parameters that matter, never a path."""
        ...

    def like(self, file: Path) -> CSV:
        """The reader of later events in a file of this source's columns and times (:mod:`sage_pl.data.later`)."""
        ...


def unix_seconds(date: str) -> int:
    """Unix seconds of an ISO date in UTC, midnight without a time.

    Raises:
        SettingError: it is no such date.
    """
    try:
        return int(dt.datetime.fromisoformat(str(date)).replace(tzinfo=dt.UTC).timestamp())
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


def hashes(files: Mapping[str, InputFile]) -> dict[str, str]:
    """sha256 of each file.

    Raises:
        MissingFileError: one is absent.
    """
    return {name: file_digest(require_file(*file)) for name, file in files.items()}


def require_columns(columns: Iterable[str], names: Iterable[str], where: str, help: str) -> None:
    """Raise DataError if ``columns`` lacks one of ``names``; the message names the nearest columns."""
    columns, names = list(columns), list(names)
    if absent := [name for name in names if name not in columns]:
        others = [column for column in columns if column not in names]
        near = list(dict.fromkeys(match for name in absent if (match := nearest(name, others))))
        hint = f" (nearest: {', '.join(near)})" if near else ""
        raise DataError(f"{where} has no column {', '.join(absent)}{hint}; it has: {', '.join(columns)}; {help}")


def nearest(name: str, columns: Iterable[str]) -> str | None:
    """The column whose name is most like ``name`` in letters, upper or lower case, or None."""
    by_letters = {column.lower(): column for column in columns}
    close = difflib.get_close_matches(name.lower(), by_letters, n=1, cutoff=0.5)
    inside = [column for letters, column in by_letters.items() if name and name.lower() in letters]
    return by_letters[close[0]] if close else next(iter(inside), None)


def check_items(items: pl.DataFrame, where: str) -> pl.DataFrame:
    """The item table itself, if it has a ``title`` text for each item and each item once.

    Raises:
        DataError: a column is missing or of the wrong type, an id or title is null, or an id occurs twice.
    """
    help = "every item needs an id and a text; use '' for no text"
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


def clean_ids(frame: pl.DataFrame, names: Mapping[str, str], where: str, rows: str) -> tuple[pl.DataFrame, list[str]]:
    """The table with the blanks around its text ids removed, and a note for each column that had some.

    Args:
        frame: a table with the columns of ``names`` and ``rows``.
        names: column -> its name in the file.
        where: the file, for messages.
        rows: name of the column that numbers lines or rows; messages call it so.

    Raises:
        DataError: an id is null, empty or blank, with the numbers of the first of them.
    """
    notes = []
    for column, name in names.items():
        ids = frame[column]
        stripped = ids.str.strip_chars() if ids.dtype == pl.String else ids
        blank = stripped.is_null() | (stripped == "") if ids.dtype == pl.String else ids.is_null()
        if count := blank.sum():
            raise DataError(
                f"{where}: {name} is empty in {count:,} of {frame.height:,} rows, {numbers(frame[rows].filter(blank))}; "
                "fill or drop them"
            )
        if ids.dtype == pl.String and (padded := (stripped != ids).sum()):
            notes.append(f"{name}: blanks around ids removed in {padded:,} rows")
            frame = frame.with_columns(stripped.alias(column))
    return frame, notes


def numbers(rows: pl.Series) -> str:
    """The first numbers of a column that numbers lines, in words: "line 7", "lines 7, 11", "lines 7, 11, 12 and others"."""
    first = ", ".join(map(str, rows.head(3)))
    return f"{rows.name}{'s' if len(rows) > 1 else ''} {first}{' and others' if len(rows) > 3 else ''}"
