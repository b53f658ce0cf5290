"""Kept lists brought up to date: only those are made whose history or model changed."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sage_pl.data.sequences import IntArray
from sage_pl.serving.cached_recommender import ask
from sage_pl.serving.histories import Histories
from sage_pl.serving.top_k_cache import CacheError, Lists, Origin, TopKCache, user_hash, write
from sage_pl.types import Recommender


class Refreshed(NamedTuple):
    """What :func:`refresh` did."""

    made: int
    kept: int
    seconds: float


def refresh(
    file: str | Path,
    histories: Histories,
    origin: Origin,
    recommender: Recommender,
    k: int,
    batch_size: int = 128,
    every: float = 300.0,
) -> Refreshed:
    """Make the lists whose history or origin changed, keep the others, and replace the file in one move.

    Every history is hashed, and where one list changed the whole file is written. What is done is written every few
    minutes too, and when the work is interrupted: the next call goes on from there.

    Args:
        file: its folder is made if it is missing.
        histories: of all users the file is to have; others are dropped.
        origin: the model's name and whether seen items are left out; kept in the file.
        recommender: the model, asked batch by batch, users of like length together.
        k: items per user. With another k than the file's everything is made again.
        batch_size: users at once.
        every: seconds between writes.

    Raises:
        CacheError: ``file`` is something else, or two users share a name.
    """
    start, file = time.perf_counter(), Path(file)
    hashes = np.array([user_hash(name) for name in histories.names], np.uint64)
    order = np.argsort(hashes)  # row of histories per row of the file
    if len(np.unique(hashes)) < len(hashes):
        raise CacheError("two users share a name, or a hash of 64 bits; give every user an id of their own")
    old = TopKCache(file) if file.is_file() else None
    lists = _carried_over(old, hashes[order], k)
    keys = np.array([origin.key(histories.names[row], histories[row]) for row in order], np.uint64)
    todo = np.flatnonzero(lists.keys != keys)
    todo = todo[np.argsort(histories.lengths[order[todo]], kind="stable")]
    made, written = 0, time.perf_counter()
    try:
        for rows in _shown([todo[at : at + batch_size] for at in range(0, len(todo), batch_size)]):
            users = order[rows]
            found = ask(recommender, histories.padded(users), histories.users[users], k, origin.exclude_seen)
            lists.ids[rows], lists.scores[rows], lists.keys[rows] = found.ids, found.scores, keys[rows]
            made += len(rows)
            if time.perf_counter() - written > every:
                write(file, origin, lists)
                written = time.perf_counter()
    finally:
        if made or (not len(todo) and (old is None or len(old) != len(order))):  # the latter: users are gone
            write(file, origin, lists)
    return Refreshed(made, len(order) - len(todo), time.perf_counter() - start)


def _carried_over(old: TopKCache | None, users: npt.NDArray[np.uint64], k: int) -> Lists:
    """A row per user, with what the file keeps for them."""
    lists = Lists.empty(users, k)
    if old is not None and old.k == k and len(old):
        at = np.minimum(np.searchsorted(old.lists.users, users), len(old) - 1)
        same = old.lists.users[at] == users
        rows = at[same]
        lists.keys[same], lists.ids[same], lists.scores[same] = (column[rows] for column in old.lists[1:])
    return lists


def _shown(batches: Sequence[IntArray]) -> Iterable[IntArray]:
    """The batches, with a progress bar on a terminal."""
    from rich.console import Console
    from rich.progress import track

    return track(batches, "recommend", console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
