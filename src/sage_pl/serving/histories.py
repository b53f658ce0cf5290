"""Histories of users: the events of the data set, and later ones from a file."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from sage_pl.artifacts.store import Artifact
from sage_pl.data.sequences import IntArray, Sequences, windows
from sage_pl.data.sources.csv import CSV
from sage_pl.data.sources.raw import DataError, require_columns
from sage_pl.errors import MissingFileError

log = logging.getLogger(__name__)

COLUMNS = ("user_id", "item_id")


@dataclass(frozen=True)
class Histories:
    """The items of U users, oldest first; user ``names[r]`` has ``values[offsets[r]:offsets[r + 1]]``."""

    names: Sequence[str]  # [U] ids in the data set
    users: IntArray  # [U] rows in the model's table of users; 0 for a new user
    values: IntArray
    offsets: IntArray  # [U + 1]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, row: int) -> IntArray:
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    @property
    def lengths(self) -> IntArray:
        """Events per user, [U]."""
        return np.diff(self.offsets)

    @classmethod
    def of(cls, artifact: Artifact, later: pl.DataFrame | None = None) -> Histories:
        """All events of a ``sequences`` artifact, held-out ones included, followed by those of ``later`` in its order.

        Args:
            artifact: the ``sequences`` artifact.
            later: ``user_id`` and ``item_id`` as text, see :func:`read_events`. Unknown users are added; events with
                unknown items are dropped and counted in a warning.
        """
        data = Sequences.load(artifact)
        names = artifact.frame("users")["user_id"].cast(pl.String)
        rows = np.repeat(np.arange(data.n_users), data.lengths[1:])
        values = np.asarray(data.values)
        if later is not None:
            later = _known_items(later, artifact.frame("items"))
            names = pl.concat([names, later["user_id"]]).unique(maintain_order=True)
            numbers = pl.DataFrame({"user_id": names}).with_row_index("row")
            new = later.join(numbers, on="user_id", how="left", maintain_order="left")
            rows = np.concatenate([rows, new["row"].to_numpy()])
            order = np.argsort(rows, kind="stable")
            rows, values = rows[order], np.concatenate([values, new["item"].to_numpy()])[order]
        offsets = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(names)))])
        users = np.arange(1, len(names) + 1)
        return cls(names.to_list(), np.where(users <= data.n_users, users, 0), values, offsets)

    def padded(self, rows: IntArray) -> IntArray:
        """The whole histories of some users, left-padded with 0: int64 [B, L], L at least 1."""
        return windows(self.values, self.offsets[rows + 1], self.lengths[rows])


def read_events(file: str | Path) -> pl.DataFrame:
    """``user_id`` and ``item_id`` as text, sorted by ``timestamp`` if the file has one, else in file order.

    Args:
        file: ``.csv`` with a header, ``.jsonl`` or ``.parquet``.

    Raises:
        MissingFileError: there is no such file.
        DataError: another format, or a missing column or value.
    """
    path = Path(file)
    if not path.is_file():
        raise MissingFileError(
            f"there is no file {path}; events=FILE names a table of user_id, item_id (and timestamp)"
        )
    readers: dict[str, Callable[[Path], pl.DataFrame]] = {
        ".csv": lambda table: pl.read_csv(table, infer_schema=False, glob=False),
        ".jsonl": lambda table: pl.read_ndjson(table.read_bytes()),
        ".parquet": lambda table: pl.read_parquet(table, glob=False),
    }
    if path.suffix not in readers:
        raise DataError(f"{path} ends in {path.suffix!r}; wanted one of {', '.join(readers)}")
    try:
        frame = readers[path.suffix](path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{path} cannot be read as {path.suffix}: {error}") from error
    require_columns(frame.schema, COLUMNS, str(path), f"Wanted: {', '.join(COLUMNS)}, and timestamp if there is one.")
    columns = [name for name in (*COLUMNS, "timestamp") if name in frame.columns]
    if empty := {name: count for name in columns if (count := frame[name].null_count())}:
        raise DataError(f"{path} has events without {', '.join(empty)} ({max(empty.values())} of {frame.height})")
    if "timestamp" in columns:
        times = frame["timestamp"]
        numbers = times.cast(pl.Float64, strict=False) if times.dtype == pl.String else times
        if numbers.null_count():
            raise DataError(f"{path} has times that are no numbers, such as {times.filter(numbers.is_null())[0]!r}")
        frame = frame.with_columns(numbers).sort("timestamp", maintain_order=True)
    return frame.select(pl.col(name).cast(pl.String) for name in COLUMNS)


def read_events_as(source: CSV, file: str | Path) -> pl.DataFrame:
    """:func:`read_events` of a file with the columns, layout and times of the data set; identical events count once.

    Args:
        source: the data set's reader.
        file: of events in the same form.
    """
    raw = replace(source, path=file, text=None, items=None).load()
    events = raw.interactions.collect()
    if source.time is not None:
        once = events.unique(["user_id", "item_id", "timestamp"], keep="first", maintain_order=True)
        if len(once) < len(events):
            log.warning("%d of %d events of %s occur twice and count once", len(events) - len(once), len(events), file)
        events = once.sort("timestamp", maintain_order=True)
    return events.select(COLUMNS)


def _known_items(events: pl.DataFrame, items: pl.DataFrame) -> pl.DataFrame:
    """The events with the items' ids in the model, without events of unknown items."""
    ids = items.select("item", pl.col("item_id").cast(pl.String))
    joined = events.join(ids, on="item_id", how="left", maintain_order="left")
    unknown = joined.filter(pl.col("item").is_null())
    if len(unknown):
        log.warning(
            "%d of %d events have an item unknown to the model, such as %s; they are left out",
            len(unknown), len(events), unknown["item_id"][0],
        )  # fmt: skip
    return joined.drop_nulls("item")
