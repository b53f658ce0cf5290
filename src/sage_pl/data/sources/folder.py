"""A folder with interactions.parquet and, where there is text, items.parquet: the project's own format."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from sage_pl.artifacts.files import file_digest
from sage_pl.data.sources.raw import CLOCK, COLUMNS, DataError, RawData, check_items, require_columns, require_file


@dataclass(frozen=True)
class Folder:
    """Reads the in-house format.

    ``interactions.parquet`` has ``user_id``, ``item_id`` (integers or strings) and ``timestamp`` (integers: Unix seconds or
    positions in the user's sequence). Where times are positions, ``unix_time`` (integers, null where unknown) may hold the
    real time of an event, which does not affect the order. Further columns are ignored. The optional ``items.parquet`` has
    ``item_id``, ``title`` ('' where there is none) and any other text columns.

    Args:
        path: the folder.
        missing: help shown when the folder has no interactions, for a data set that cannot be redistributed.

    Raises:
        MissingFileError: the folder has no interactions.parquet.
        DataError: a file is damaged or empty, lacks a column, has null ids or times, or repeats an item.
    """

    path: str | Path = field(compare=False)
    missing: str = field(default="", compare=False)

    def load(self) -> RawData:
        file = self._interactions()
        frame = _scan(file)
        schema = frame.collect_schema()
        require_columns(schema, COLUMNS, str(file), f"Wanted: {', '.join(COLUMNS)}.")
        times = [name for name in ("timestamp", CLOCK) if name in schema]
        for name in times:
            if not schema[name].is_integer():
                raise DataError(
                    f"column {name} of {file} is {schema[name]}, wanted integers: Unix seconds or positions; "
                    "dataset=csv dataset.path=FILE reads dates"
                )
        frame = frame.select("user_id", "item_id", pl.col(times).cast(pl.Int64))
        nulls = (
            frame.select(pl.len().alias("rows"), pl.all().null_count()).collect(engine="streaming").row(0, named=True)
        )
        if nulls["rows"] == 0:
            raise DataError(f"{file} is empty; wanted at least one interaction")
        for column in COLUMNS:
            if n := nulls[column]:
                raise DataError(f"column {column} of {file} is null in {n} of {nulls['rows']} rows; drop them")
        items = self._items()
        return RawData(frame, None if items is None else check_items(_scan(items).collect(), str(items)))

    def fingerprint(self) -> dict[str, Any]:
        files = {"interactions": self._interactions(), "items": self._items()}
        clock = {"clock": CLOCK} if CLOCK in _scan(self._interactions()).collect_schema() else {}
        return {name: file_digest(file) for name, file in files.items() if file is not None} | clock

    def _interactions(self) -> Path:
        help = "name the folder of the data: paths.data=DIR (all data sets) or dataset.path=DIR (dataset=folder)"
        return require_file(Path(self.path) / "interactions.parquet", self.missing or help)

    def _items(self) -> Path | None:
        file = Path(self.path) / "items.parquet"
        return file if file.is_file() else None


def _scan(file: Path) -> pl.LazyFrame:
    """The table, after a check of its header."""
    if file.stat().st_size == 0:
        raise DataError(f"{file} is empty (0 bytes); wanted a parquet file")
    frame = pl.scan_parquet(file, glob=False)
    try:
        frame.collect_schema()
    except pl.exceptions.ComputeError as error:
        raise DataError(f"{file} is not a parquet file ({error}); write it with polars or pandas again") from error
    return frame
