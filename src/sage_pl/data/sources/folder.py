"""Tables of interactions and, where there is text, items in parquet: the project's own format, in one file or in parts."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from sage_pl.data.sources.csv import CSV
from sage_pl.data.sources.parts import parts_of, scan, split
from sage_pl.data.sources.raw import (
    CLOCK,
    COLUMNS,
    DataError,
    InputFile,
    RawData,
    check_items,
    hashes,
    numbers,
    require_columns,
    require_file,
)
from sage_pl.data.sources.texts import entity_columns, resolve_entities
from sage_pl.data.sources.times import UNITS, in_exact_order, refuse_beyond, unit_of, whole_times

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Folder:
    """Reads the in-house format.

    ``interactions.parquet`` has ``user_id``, ``item_id`` (integers or strings) and ``timestamp`` (integers: Unix seconds or
    positions in the user's sequence; or dates). Where times are positions, ``unix_time`` (integers, null where unknown) may
    hold the real time of an event, which does not affect the order. Further columns are for filters. The optional
    ``items.parquet`` has ``item_id``, ``title`` ('' where there is none) and any other text columns.

    ``interactions.parquet`` may be a folder of parts, or the path a pattern of them, with ``items.parquet`` in the folder
    before the first ``*``. The parts in the order of their paths are one table; folders named ``key=value`` are columns.

    Blanks around text ids are removed, milli-, micro- and nanoseconds become seconds (:mod:`sage_pl.data.sources.times`), and
    HTML entities in texts are resolved.

    Args:
        path: the folder, or a pattern: ``DIR/*.parquet``, ``DIR/**/*.parquet``.
        missing: help shown when the folder has no interactions, for a data set that cannot be redistributed.

    Raises:
        MissingFileError: the folder has no interactions.parquet.
        DataError: a file is damaged or empty, lacks a column, has null ids or times, or repeats an item, or parts differ.
    """

    path: str | Path = field(compare=False)
    missing: str = field(default="", compare=False)

    def load(self, *columns: str) -> RawData:
        file, frame = self._table(), self._interactions(columns)
        facts = _facts(frame)
        _check(frame, facts, file)
        notes: list[str] = []
        if repairs := _repairs(facts):
            frame, notes = _repaired(frame, repairs, file)
        items = None if self._items() is None else check_items(self._texts(), str(self._items()))
        if items is not None and (columns_with := entity_columns(items)):
            items = resolve_entities(items)
            notes.append(f"items.parquet: HTML entities resolved in {', '.join(columns_with)}")
        for note in notes:
            log.info("%s", note)
        return RawData(frame, items, tuple(notes))

    def files(self) -> dict[str, InputFile]:
        help = (
            "name the folder of the data: paths.data=DIR (all data sets) or dataset.path=DIR (dataset=folder), or its parts: "
            "'dataset.path=DIR/*.parquet'"
        )
        table = self._table()
        parts = parts_of(table, without=("items.parquet",))
        if list(parts.values()) in ([table], []):
            files = {"interactions": InputFile(table, self.missing or help)}
        else:
            files = {f"interactions/{name}": InputFile(path, help) for name, path in parts.items()}
        return files if (items := self._items()) is None else {**files, "items": InputFile(items, help)}

    def fingerprint(self) -> dict[str, Any]:
        frame = self._interactions()
        clock = {"clock": CLOCK} if CLOCK in frame.collect_schema() else {}
        texts = {"entities": "resolved"} if self._items() is not None and entity_columns(self._texts()) else {}
        return (
            hashes(self.files()) | clock | _repairs(_facts(frame)) | texts
        )  # what is repaired changes the result, and so the key

    def like(self, file: Path) -> CSV:
        return CSV(file, *COLUMNS)

    def _texts(self) -> pl.DataFrame:
        """The table of items with the blanks around text ids removed."""
        file = self._items()
        assert file is not None
        items = scan([file]).collect()
        is_text = items.schema.get("item_id") == pl.String
        return items.with_columns(pl.col("item_id").str.strip_chars()) if is_text else items

    def _table(self) -> Path:
        """The file, folder or pattern of the interactions."""
        path = Path(self.path)
        return path if split(path)[1] is not None and not path.is_dir() else path / "interactions.parquet"

    def _items(self) -> Path | None:
        table = self._table()
        folder, pattern = split(table)
        file = (table.parent if pattern is None else folder) / "items.parquet"
        return file if file.is_file() else None

    def _interactions(self, columns: Sequence[str] = ()) -> pl.LazyFrame:
        """The columns that are read; dates of a parquet type as whole nanoseconds.

        Raises:
            MissingFileError: there is no file.
            DataError: a column is missing, parts differ, or a time is neither a whole number nor a date, or does not fit.
        """
        table = self._table()
        files = [require_file(*file) for name, file in self.files().items() if name != "items"]
        frame = scan(files, [*COLUMNS, CLOCK, *columns])
        schema = frame.collect_schema()
        require_columns(schema, [*COLUMNS, *columns], str(table), f"wanted: {', '.join(COLUMNS)}")
        times = [name for name in ("timestamp", CLOCK) if name in schema]
        for name in times:
            if not schema[name].is_integer() and not isinstance(schema[name], pl.Date | pl.Datetime):
                raise DataError(
                    f"column {name} of {table} is {schema[name]}, wanted integers (Unix seconds or positions) or dates; "
                    "dataset=csv dataset.path=FILE reads dates as text"
                )
            refuse_beyond(frame, name, str(table))
        for name in ("user_id", "item_id"):
            if schema[name].is_nested() or schema[name] == pl.Binary:
                raise DataError(f"column {name} of {table} is {schema[name]}, wanted integers or text; cast it")
        whole = [whole_times(name, schema[name]) for name in times]
        return frame.select("user_id", "item_id", *whole, *(name for name in columns if name not in COLUMNS))


def _facts(frame: pl.LazyFrame) -> dict[str, int]:
    """Counts by name: rows, nulls and blanks of each column, ids with blanks around them, times of each unit."""
    schema = frame.collect_schema()
    counts = [pl.len().alias("rows")]
    for name in ("user_id", "item_id"):
        ids = pl.col(name)
        counts.append(ids.is_null().sum().alias(f"null {name}"))
        if schema[name] == pl.String:
            bare = ids.str.strip_chars()
            counts += [(bare == "").sum().alias(f"blank {name}"), (bare != ids).sum().alias(f"padded {name}")]
    for name in ("timestamp", CLOCK):
        if name in schema:
            counts.append(pl.col(name).is_null().sum().alias(f"null {name}"))
            counts += [(unit_of(pl.col(name)) == code).sum().alias(f"{unit} {name}") for code, unit in enumerate(UNITS)]
    return frame.select(counts).collect(engine="streaming").row(0, named=True)


def _check(frame: pl.LazyFrame, facts: dict[str, int], file: Path) -> None:
    if facts["rows"] == 0:
        raise DataError(f"{file} is empty; wanted at least one interaction")
    for column in COLUMNS:
        bad = pl.col(column).is_null()
        if blanks := facts.get(f"blank {column}", 0):
            bad |= pl.col(column).str.strip_chars() == ""
        if n := facts[f"null {column}"] + blanks:
            rows = frame.select(column).with_row_index("row", 1).filter(bad).head(4).collect()["row"]
            kind = "null or blank" if blanks else "null"
            raise DataError(
                f"column {column} of {file} is {kind} in {n} of {facts['rows']} rows ({numbers(rows)}); drop them"
            )
    for column in ("timestamp", CLOCK):
        units = [f"{facts[f'{unit} {column}']:,} in {unit}" for unit in UNITS if facts.get(f"{unit} {column}")]
        if len(units) > 1:
            raise DataError(
                f"column {column} of {file} has several units by the size of its numbers: {', '.join(units)}; wanted one"
            )


def _repairs(facts: dict[str, int]) -> dict[str, str]:
    """What changes the columns: ids to strip and times that are no seconds."""
    ids = {name: "stripped" for name in ("user_id", "item_id") if facts.get(f"padded {name}")}
    units = {name: unit for name in ("timestamp", CLOCK) for unit in UNITS[1:] if facts.get(f"{unit} {name}")}
    return ids | units


def _repaired(frame: pl.LazyFrame, repairs: dict[str, str], file: Path) -> tuple[pl.LazyFrame, list[str]]:
    """The table with bare ids and times in whole seconds, and what was done."""
    notes = []
    for name, kind in repairs.items():
        if kind == "stripped":
            frame = frame.with_columns(pl.col(name).str.strip_chars())
            notes.append(f"{file.name}: blanks around {name} removed")
        else:
            per = 1000 ** UNITS.index(kind)
            if name == "timestamp":
                frame = frame.with_columns(nanos=pl.col(name) % per)
            frame = frame.with_columns(pl.col(name) // per)
            notes.append(f"{file.name}: {name} in {kind}, which become whole seconds")
    return in_exact_order(frame) if "timestamp" in repairs else frame, notes
