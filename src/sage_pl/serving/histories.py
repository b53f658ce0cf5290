"""Histories of users: the events of the data set, and later ones."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from sage_pl.artifacts.store import Artifact
from sage_pl.data.filters import Filter
from sage_pl.data.interactions import LEFT_OUT
from sage_pl.data.later import SCHEMA
from sage_pl.data.sequences import IntArray, Sequences, windows

log = logging.getLogger(__name__)
_KNOWN = [pl.col("user_id").cast(pl.String), *(pl.col(name).cast(pl.Int64) for name in ("item", "timestamp"))]
_BEFORE_ALL = -(2**62)  # the time of an event without one that follows none


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
    def of(
        cls,
        artifact: Artifact,
        later: pl.DataFrame | None = None,
        also: Sequence[str] = (),
        rules: Sequence[Filter] = (),
        items: Mapping[str, int] | None = None,
    ) -> Histories:
        """All events of a ``sequences`` artifact, held-out ones included, and those of ``later``.

        A later event takes its place by time where both it and the data set have times, and else follows what came before it.
        New users are added. Events with unknown items are left out and counted in a warning. A user whom a filter of the data
        set left out has the events with the items that remain, if ``later`` or ``also`` names the user.

        Args:
            artifact: the ``sequences`` artifact.
            later: ``user_id`` and ``item_id`` as text, ``timestamp`` null where unknown, in order of arrival.
            also: users.
            rules: filters of the data set; those that say what belongs to a history are applied to histories that change.
            items: the model's number of each id; None for the artifact's items.
        """
        data = Sequences.load(artifact)
        ids = user_ids(artifact)
        rows, values = np.repeat(np.arange(data.n_users), data.lengths[1:]), np.asarray(data.values)
        later = pl.DataFrame(schema=SCHEMA) if later is None else later
        whose = pl.concat([later["user_id"], pl.Series(also, dtype=pl.String)]).unique(maintain_order=True)
        names = ids
        if len(whose):
            known = known_events(artifact, whose)
            names = pl.concat([ids, later["user_id"], known["user_id"]]).unique(maintain_order=True)
            events = pl.concat([known, _numbered(later, item_numbers(artifact) if items is None else items)])
            events = _in_order(events, names, rules)
            others = ~np.isin(rows, events["row"].unique().to_numpy())
            rows = np.concatenate([rows[others], events["row"].to_numpy()])
            order = np.argsort(rows, kind="stable")
            rows, values = rows[order], np.concatenate([values[others], events["item"].to_numpy()])[order]
        numbers = np.arange(1, len(names) + 1)
        return cls(names.to_list(), np.where(numbers <= len(ids), numbers, 0), values, _offsets(rows, len(names)))

    @classmethod
    def of_events(
        cls, artifact: Artifact, events: pl.DataFrame, rules: Sequence[Filter], items: Mapping[str, int]
    ) -> Histories:
        """Histories of ``events`` alone, whatever else is known of their users; arguments as in :meth:`of`."""
        names = events["user_id"].unique(maintain_order=True)
        events = _in_order(_numbered(events, items), names, rules)
        number_of = {name: number for number, name in enumerate(user_ids(artifact).to_list(), 1)}
        users = np.array([number_of.get(name, 0) for name in names], np.int64)
        return cls(names.to_list(), users, events["item"].to_numpy(), _offsets(events["row"].to_numpy(), len(names)))

    @classmethod
    def of_lists(cls, names: Sequence[str], items: Sequence[Sequence[int]]) -> Histories:
        """Histories of the model's item numbers, of users whom it does not know."""
        values = np.array([item for one in items for item in one], np.int64)
        return cls(names, np.zeros(len(names), np.int64), values, np.cumsum([0, *map(len, items)]))

    def subset(self, rows: IntArray) -> Histories:
        """Some of them, in the order of ``rows``."""
        parts = [self[row] for row in rows]
        values = np.concatenate([np.zeros(0, np.int64), *parts])
        return Histories([self.names[row] for row in rows], self.users[rows], values, np.cumsum([0, *map(len, parts)]))

    def padded(self, rows: IntArray) -> IntArray:
        """The whole histories of some users, left-padded with 0: int64 [B, L], L at least 1."""
        return windows(self.values, self.offsets[rows + 1], self.lengths[rows])


def user_ids(artifact: Artifact) -> pl.Series:
    """The users of a ``sequences`` artifact by number, from 1, as text."""
    return artifact.frame("users").sort("user")["user_id"].cast(pl.String)


def item_numbers(artifact: Artifact) -> dict[str, int]:
    """The number of each item of a ``sequences`` artifact by its id as text."""
    items = artifact.frame("items")
    return dict(zip(items["item_id"].cast(pl.String).to_list(), items["item"].to_list(), strict=True))


def known_events(artifact: Artifact, users: pl.Series, times: str = "times") -> pl.DataFrame:
    """What a ``sequences`` artifact knows of some users, those included whom a filter left out.

    Args:
        artifact: the artifact.
        users: their ids as text.
        times: ``times``, by which histories are ordered, or ``clock``, the real ones of a data set whose times are positions.

    Returns:
        ``user_id`` as text, ``item`` and ``timestamp``, oldest first; times are null where the artifact has none.
    """
    ids, offsets = user_ids(artifact), artifact.array("offsets")
    user = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    inside = np.concatenate([[False], ids.is_in(users.implode()).to_numpy()])[user]
    columns = {
        "user_id": ids.gather(user[inside] - 1),
        "item": artifact.array("values")[inside],
        "timestamp": artifact.array(times)[inside] if (artifact.path / f"{times}.npy").is_file() else None,
    }
    events = pl.DataFrame(columns).select(_KNOWN)
    if not (artifact.path / LEFT_OUT).is_file():  # no filter left out a user, or an earlier version made the artifact
        return events
    others = artifact.frame(Path(LEFT_OUT).stem).filter(pl.col("user_id").is_in(users.implode()))
    return pl.concat([events, others.select(_KNOWN)])


def _numbered(events: pl.DataFrame, items: Mapping[str, int]) -> pl.DataFrame:
    """``user_id``, ``item`` and ``timestamp`` of the events whose item is known."""
    numbers = events["item_id"].replace_strict(items, default=None, return_dtype=pl.Int64)
    if unknown := numbers.null_count():
        log.warning(
            "%d of %d events have an item unknown to the model, such as %s; they are left out",
            unknown, len(events), events["item_id"].filter(numbers.is_null())[0],
        )  # fmt: skip
    time = pl.col("timestamp") if "timestamp" in events.columns else pl.lit(None, pl.Int64).alias("timestamp")
    return events.select("user_id", numbers.alias("item"), time).drop_nulls("item")


def _in_order(events: pl.DataFrame, names: pl.Series, rules: Sequence[Filter]) -> pl.DataFrame:
    """``row`` and ``item`` by user and time. An event without a time has that of the newest one of its user before it."""
    row_of = {name: row for row, name in enumerate(names)}
    row = events["user_id"].replace_strict(row_of, return_dtype=pl.Int64)
    newest = pl.col("timestamp").cum_max().forward_fill().over("user_id")
    time = pl.coalesce("timestamp", newest, pl.lit(_BEFORE_ALL))
    frame = events.select(row.alias("user_id"), item_id="item", timestamp=time.alias("timestamp"))
    frame = frame.sort("user_id", "timestamp", maintain_order=True)
    frame = frame.with_columns(
        timestamp=pl.int_range(pl.len())
    )  # the order is decided, and equal times are no duplicates
    for rule in rules:
        if rule.of_history and not rule.columns:
            frame = rule.keep(frame)
    return frame.rename({"user_id": "row", "item_id": "item"})


def _offsets(rows: IntArray, n: int) -> IntArray:
    return np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=n))])
