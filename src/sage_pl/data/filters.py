"""Filters of the raw interactions, applied before users and items are numbered.

A filter maps a table with ``user_id``, ``item_id``, ``timestamp`` and the columns that the filter names to a subset of its
rows, in the same order. A lazy table is collected to check that rows remain, and returned lazy.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import numpy as np
import polars as pl

from sage_pl.data.events import Events
from sage_pl.data.sources.raw import DataError, unix_seconds
from sage_pl.errors import SettingError
from sage_pl.ranges import Count, Natural, Signed

Frame = TypeVar("Frame", pl.DataFrame, pl.LazyFrame)


class Filter(ABC):
    """One rule; subclasses are frozen dataclasses that implement ``keep``.

    Attributes:
        of_history: the rule says what belongs to a history, also of later events and of users whom another rule left out.
        per_user: the rule reads each user's rows alone, so that large data pass it part by part.
    """

    of_history: ClassVar[bool] = False
    per_user: ClassVar[bool] = False

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the source that the rule reads beside ids and times."""
        return ()

    def __call__(self, frame: Frame) -> Frame:
        """The rows that pass.

        Raises:
            DataError: no row passes.
        """
        if isinstance(frame, pl.LazyFrame):
            return self._checked(frame.collect(engine="streaming")).lazy()
        return self._checked(frame)

    def over(self, events: Events) -> Events:
        """The events that pass; a rule that compares users gets all of them at once.

        Raises:
            DataError: none passes.
        """
        rows = self.keep_parts(events)
        if not any(part.height for part in rows.read("user_id")):
            raise self._leaves_nothing(events.counts())
        return rows

    def keep_parts(self, events: Events) -> Events:
        if self.per_user or events.whole:
            return events.each(self.keep)
        return Events([self.keep(pl.concat(events))], events.folder, events.n_users, events.n_items)

    def _checked(self, frame: pl.DataFrame) -> pl.DataFrame:
        rows = self.keep(frame)
        if rows.is_empty():
            users, items = (frame[column].n_unique() for column in ("user_id", "item_id"))
            raise self._leaves_nothing({"interactions": frame.height, "users": users, "items": items})
        return rows

    def _leaves_nothing(self, counts: Mapping[str, int]) -> DataError:
        return DataError(
            f"{self} leaves nothing of {counts['interactions']} interactions of {counts['users']} users and "
            f"{counts['items']} items; choose a weaker filter (dataset.filters) or check the data"
        )

    @abstractmethod
    def keep(self, frame: pl.DataFrame) -> pl.DataFrame: ...


def _frequent(column: str, least: int) -> pl.Expr:
    return pl.len().over(column) >= least


def _in_time(frame: pl.DataFrame) -> pl.DataFrame:
    """The rows sorted by time, equal times in source order; the column ``row`` restores the source order."""
    return frame.with_row_index("row").sort("timestamp", maintain_order=True)


def _in_source_order(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.sort("row").drop("row")


@dataclass(frozen=True)
class KCore(Filter):
    """Keeps the largest part in which each user and item still has enough events, repeats counted.

    Drops items and users in turn until nothing changes; the result is independent of their order.

    Args:
        user: least number of events of a user.
        item: least number of events of an item.
    """

    user: Natural = 5
    item: Natural = 5

    def keep(self, frame: pl.DataFrame) -> pl.DataFrame:
        before = -1
        while frame.height != before:
            before = frame.height
            frame = frame.filter(_frequent("item_id", self.item))
            frame = frame.filter(_frequent("user_id", self.user))
        return frame

    def keep_parts(self, events: Events) -> Events:
        """The same, by the counts of users and items in turn."""
        if events.whole:
            return super().keep_parts(events)
        users, items = np.ones(events.n_users, bool), np.ones(events.n_items, bool)
        before = -1
        while (left := users.sum() + items.sum()) != before:
            before = left
            of_users, of_items = events.tally(users, items)
            users, items = users & (of_users >= self.user), items & (of_items >= self.item)
        return events.rows(users, items)


@dataclass(frozen=True)
class SinglePass(Filter):
    """Drops rare users and items by their raw counts, then users who fell below theirs: LLM-ESR's nominal "3-core".

    Items may end below ``item``; in the released Yelp set 547 items have a single event.

    Args:
        user: least number of a user's events, before and after.
        item: least number of an item's events, before.

    Reference: LLM-ESR, ``data/data_process.py``.
    """

    user: Natural = 3
    item: Natural = 3

    def keep(self, frame: pl.DataFrame) -> pl.DataFrame:
        frame = frame.filter(_frequent("user_id", self.user) & _frequent("item_id", self.item))
        return frame.filter(_frequent("user_id", self.user))

    def keep_parts(self, events: Events) -> Events:
        """The same, by the counts of users and items."""
        if events.whole:
            return super().keep_parts(events)
        of_users, of_items = events.tally()
        users, items = of_users >= self.user, of_items >= self.item
        return events.rows(users & (events.tally(users, items)[0] >= self.user), items)


@dataclass(frozen=True)
class DropRepeats(Filter):
    """Keeps the first event of each user with each item: first purchases, no repeats."""

    of_history = per_user = True

    def keep(self, frame: pl.DataFrame) -> pl.DataFrame:
        first = _in_time(frame).unique(["user_id", "item_id"], keep="first", maintain_order=True)
        return _in_source_order(first)


@dataclass(frozen=True)
class DropDuplicates(Filter):
    """Keeps one event of each user, item and time: a file that was appended twice counts once."""

    of_history = per_user = True

    def keep(self, frame: pl.DataFrame) -> pl.DataFrame:
        return frame.unique(["user_id", "item_id", "timestamp"], keep="first", maintain_order=True)


@dataclass(frozen=True)
class AtLeast(Filter):
    """Keeps events whose value in a column is ``value`` or more; rows without a value are left out.

    Args:
        column: of the source, for example ``rating``.
        value: the least number that passes.

    Raises:
        DataError: a value is no number.
    """

    of_history = per_user = True

    column: str
    value: Signed

    def __post_init__(self) -> None:
        object.__setattr__(self, "column", str(self.column))  # a number, in a file without a header

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    def keep(self, frame: pl.DataFrame) -> pl.DataFrame:
        values = frame[self.column]
        if values.dtype == pl.String:
            values = values.str.strip_chars().replace("", None)
        numbers = values.cast(pl.Float64, strict=False)
        if len(wrong := values.filter(numbers.is_null() & values.is_not_null())):
            raise DataError(
                f"{self}: {self.column} is {wrong[0]!r} in {len(wrong):,} of {frame.height:,} rows, wanted numbers; "
                "for words take sage_pl.data.filters.OneOf"
            )
        return frame.filter((numbers >= self.value).fill_null(False))


@dataclass(frozen=True)
class OneOf(Filter):
    """Keeps events whose value in a column is one of ``values``, compared as text without the blanks around it.

    Args:
        column: of the source, for example ``event``.
        values: those that pass, for example ``[purchase]``.
    """

    of_history = per_user = True

    column: str
    values: Sequence[str | Signed | bool]

    def __post_init__(self) -> None:
        if isinstance(self.values, str) or not len(self.values):
            raise SettingError(f"OneOf.values is {self.values!r}, wanted a list, such as [purchase]")
        object.__setattr__(self, "column", str(self.column))
        object.__setattr__(self, "values", tuple(self.values))

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    def keep(self, frame: pl.DataFrame) -> pl.DataFrame:
        names = [str(value).lower() if isinstance(value, bool) else str(value) for value in self.values]
        return frame.filter(pl.col(self.column).cast(pl.String).str.strip_chars().is_in(names))


@dataclass(frozen=True)
class LastItems(Filter):
    """Keeps the last events of each user.

    Args:
        n: largest number of events per user, at least 1.
    """

    per_user = True

    n: Count

    def __post_init__(self) -> None:
        if self.n < 1:
            raise SettingError(f"LastItems.n is {self.n}, wanted at least 1")

    def keep(self, frame: pl.DataFrame) -> pl.DataFrame:
        back = pl.int_range(pl.len(), 0, -1).over("user_id")  # n..1, counted from the user's last event
        return _in_source_order(_in_time(frame).filter(back <= self.n))


@dataclass(frozen=True)
class Period(Filter):
    """Keeps events from ``start`` until just before ``end``; needs real times.

    Args:
        start: ISO date (midnight UTC) or Unix seconds; None for no border.
        end: likewise.
    """

    per_user = True

    start: str | int | None = None
    end: str | int | None = None

    def keep(self, frame: pl.DataFrame) -> pl.DataFrame:
        time, inside = pl.col("timestamp"), pl.lit(True)
        if self.start is not None:
            inside &= time >= _border(self.start)
        if self.end is not None:
            inside &= time < _border(self.end)
        return frame.filter(inside)


def _border(time: str | int) -> int:
    return time if isinstance(time, int) else unix_seconds(time)
