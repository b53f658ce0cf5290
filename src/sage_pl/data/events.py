"""The interactions of a data set by user, in parts that fit memory: what preparation filters, counts and numbers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from sage_pl.data.sources.raw import CLOCK, COLUMNS, DataError, RawData, check_items, require_columns

PART = 20_000_000  # events of a part, about 1 GB while it is sorted
_CODES, _ROW, _PART = ("user_id", "item_id"), "row of the source", "part of the users"
_QUICK: dict[str, Any] = {
    "compression": "zstd",
    "compression_level": 1,
}  # for files that live as long as the preparation
IntArray = npt.NDArray[np.integer]
Mask = npt.NDArray[np.bool_]


class Ids(NamedTuple):
    """The source's ids of users and items by code 0, 1, ..., in the order of their first rows."""

    user: pl.Series
    item: pl.Series


class Events:
    """Rows sorted by user and, within a user, by time; every part holds whole users, in their order.

    One part stays in memory. Several lie on disk and are read in turn, so that memory is that of one of them.

    Args:
        parts: the rows.
        folder: where several parts are written.
        n_users: number of user codes.
        n_items: number of item codes.
    """

    _numbers = itertools.count()  # of files

    def __init__(self, parts: Iterable[pl.DataFrame], folder: Path, n_users: int, n_items: int) -> None:
        self.folder, self.n_users, self.n_items = folder, n_users, n_items
        self._parts: list[pl.DataFrame | Path] = []
        for part in parts:
            if self._parts:
                self._parts[-1] = self._on_disk(self._parts[-1])
            self._parts.append(part)
        if len(self._parts) > 1:
            self._parts[-1] = self._on_disk(self._parts[-1])

    def __iter__(self) -> Iterator[pl.DataFrame]:
        return self.read(pl.all())

    def read(self, *columns: str | pl.Expr) -> Iterator[pl.DataFrame]:
        """Some columns of every part."""
        for part in self._parts:
            whole = pl.scan_parquet(part, glob=False) if isinstance(part, Path) else part.lazy()
            yield whole.select(columns).collect()

    @property
    def whole(self) -> bool:
        """Whether there is one part."""
        return len(self._parts) == 1

    def each(self, change: Callable[[pl.DataFrame], pl.DataFrame]) -> Events:
        """Every part changed; ``change`` keeps the order of users and of their rows."""
        return Events(map(change, self), self.folder, self.n_users, self.n_items)

    def rows(self, users: Mask, items: Mask) -> Events:
        """The rows of some users with some items, True by code."""
        return self.each(lambda part: part.filter(pl.Series(users[part["user_id"]] & items[part["item_id"]])))

    def tally(self, users: Mask | None = None, items: Mask | None = None) -> tuple[IntArray, IntArray]:
        """Rows of each user code and of each item code, of those that :meth:`rows` would give."""
        of_users, of_items = np.zeros(self.n_users, np.int64), np.zeros(self.n_items, np.int64)
        for part in self.read(*_CODES):
            user, item = part["user_id"].to_numpy(), part["item_id"].to_numpy()
            if users is not None and items is not None:
                inside = users[user] & items[item]
                user, item = user[inside], item[inside]
            of_users += np.bincount(user, minlength=self.n_users)
            of_items += np.bincount(item, minlength=self.n_items)
        return of_users, of_items

    def counts(self) -> dict[str, int]:
        """Users, items and interactions."""
        users, items = self.tally()
        return {"users": int((users > 0).sum()), "items": int((items > 0).sum()), "interactions": int(users.sum())}

    def numbers(self) -> tuple[IntArray, IntArray]:
        """Codes of the users in order, and of the items in the order of their first appearance."""
        items, fresh = [], np.ones(self.n_items, bool)
        for part in self.read("item_id"):
            first = part["item_id"].unique(maintain_order=True).to_numpy()
            items.append(first[fresh[first]])
            fresh[first] = False
        return np.flatnonzero(self.tally()[0]), np.concatenate(items)

    def discard(self) -> None:
        """Remove the files."""
        for part in self._parts:
            if isinstance(part, Path):
                part.unlink()

    def _on_disk(self, part: pl.DataFrame | Path) -> Path:
        if isinstance(part, Path):
            return part
        self.folder.mkdir(exist_ok=True)
        file = self.folder / f"{next(self._numbers)}.parquet"
        part.write_parquet(file, **_QUICK)
        return file


def encode(raw: RawData, further: Iterable[str], folder: Path) -> tuple[Events, Ids]:
    """The interactions with ids replaced by codes, and the ids by code.

    The table is streamed: memory is that of the distinct ids, and of one part.

    Args:
        raw: of the source.
        further: columns that filters read.
        folder: for what does not fit memory.

    Raises:
        DataError: there are no rows, a column is missing, or an id or time is null or blank.
    """
    schema = raw.interactions.collect_schema()
    require_columns(schema, COLUMNS, "the source's interactions", f"wanted: {', '.join(COLUMNS)}")
    require_columns(schema, further, "the source", "a filter reads it; see dataset.filters")
    columns = [*COLUMNS, *([CLOCK] if CLOCK in schema else []), *further]
    frame = raw.interactions.select(columns)
    nulls = frame.select(pl.len(), pl.col(COLUMNS).null_count()).collect(engine="streaming").row(0, named=True)
    if not nulls["len"]:
        raise DataError("the source has no interactions; wanted at least one")
    for column in COLUMNS:
        if nulls[column]:
            raise DataError(
                f"{column} is null in {nulls[column]} of {nulls['len']} interactions; drop or fill them there"
            )
    if raw.items is not None:
        _check_texts(raw.items, schema["item_id"])
    ids = {column: _ids(frame, column, nulls["len"]) for column in _CODES}
    rows = ids["user_id"]["rows"].to_numpy()
    numbers = _part_numbers(rows)
    ids["user_id"] = ids["user_id"].with_columns(pl.Series(_PART, numbers))
    frame = frame.with_row_index(_ROW)  # joins that keep the order of rows take five times as long
    for column, table in ids.items():
        codes = table.lazy().drop("first", "rows").with_columns(code=pl.int_range(pl.len(), dtype=pl.UInt32))
        frame = frame.join(codes, on=column, how="left").drop(column).rename({"code": column})
    parts = _by_user(frame.select(_PART, _ROW, *columns), np.unique(numbers), folder)
    events = Events(parts, folder, len(rows), ids["item_id"].height)
    return events, Ids(ids["user_id"]["user_id"], ids["item_id"]["item_id"])


def _ids(frame: pl.LazyFrame, column: str, height: int) -> pl.DataFrame:
    """The distinct ids of a column in the order of their first rows, and the rows of each."""
    first = frame.select(column).with_row_index("first").group_by(column).agg(pl.col("first").min(), rows=pl.len())
    ids = first.sort("first").collect(engine="streaming")
    if ids.schema[column] == pl.String and (ids[column].str.strip_chars() == "").any():
        raise DataError(f"{column} is blank in some of {height} interactions; drop or fill them there")
    return ids


def _part_numbers(rows: IntArray) -> IntArray:
    """The part of each user, in order: :data:`PART` rows and what its first user has more."""
    return (np.cumsum(rows) - 1) // PART


def _by_user(frame: pl.LazyFrame, numbers: IntArray, folder: Path) -> Iterator[pl.DataFrame]:
    """Rows of each part sorted by time and then by user, both stable."""
    if len(numbers) > 1:
        place = folder / "unsorted"
        frame.sink_parquet(pl.PartitionBy(place, key=_PART), mkdir=True, engine="streaming", **_QUICK)
    for number in numbers:
        if len(numbers) > 1:
            files = sorted((place / f"{_PART}={number}").iterdir())
            part = pl.read_parquet(files, glob=False, hive_partitioning=False)
            for file in files:
                file.unlink()
        else:
            part = frame.collect(engine="streaming")
        # Stable sorts of one column are far quicker than one sort of two columns.
        part = part.sort(_ROW).drop(_ROW, _PART).sort("timestamp", maintain_order=True)
        yield part.sort("user_id", maintain_order=True)


def _check_texts(items: pl.DataFrame, id_type: object) -> None:
    check_items(items, "the source's item table")
    if items.schema["item_id"] != id_type:
        raise DataError(
            f"item_id is {id_type} in the interactions but {items.schema['item_id']} in the item table; make them equal"
        )
    if "item" in items.columns:
        raise DataError("the item table has a column `item`, the name of the new ids; rename it")
