"""Update cached lists: compute only those whose history or model changed."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sage_pl.data.sequences import IntArray
from sage_pl.serving.cached_recommender import compute_top_k
from sage_pl.serving.histories import Histories
from sage_pl.serving.top_k_cache import CacheError, Lists, Origin, TopKCache, user_hash, write
from sage_pl.types import Recommender


class RefreshCounts(NamedTuple):
    """Numbers of lists after :func:`refresh`."""

    new: int  # computed now
    unchanged: int
    seconds: float


def refresh(
    file: str | Path,
    histories: Histories,
    origin: Origin,
    recommender: Recommender,
    k: int,
    batch_size: int = 128,
    every: float = 300.0,
    allowed: npt.NDArray[np.bool_] | None = None,
) -> RefreshCounts:
    """Compute the lists whose history or origin changed, copy the others, and replace the file atomically.

    Every history is hashed; one changed list rewrites the whole file. Lists that are being made are in files without names
    beside it, so memory grows by the users' ids and hashes alone. Partial results are written every few minutes and
    on an interruption, and the next call continues from them.

    Args:
        file: a missing folder is created.
        histories: of all users of the new file; others are dropped.
        origin: the model's name and the masking of seen items, stored in the file.
        recommender: the model; a batch has users of similar history length.
        k: items per user; another k than the file's recomputes all lists.
        batch_size: users per batch.
        every: seconds between writes.
        allowed: True for the rows of the item table that may be recommended; ``origin`` must name the restriction.

    Raises:
        CacheError: ``file`` is of another kind, or two users share a name.
    """
    start, file = time.perf_counter(), Path(file)
    hashes = np.array([user_hash(name) for name in histories.names], np.uint64)
    order = np.argsort(hashes)  # row of histories per row of the file
    if len(np.unique(hashes)) < len(hashes):
        raise CacheError("two users share a name or its 64-bit hash; give every user a unique id")
    old = TopKCache(file) if file.is_file() else None
    lists, names = Lists.empty(hashes[order], k, file.parent), [histories.names[row] for row in order]
    if old is not None and old.k == k:
        lists.fill(old.lists)
    keys = np.array([origin.key(histories.names[row], histories[row]) for row in order], np.uint64)
    todo = np.flatnonzero(lists.keys != keys)
    todo = todo[np.argsort(histories.lengths[order[todo]], kind="stable")]
    n_new, last_write = 0, time.perf_counter()
    try:
        for rows in _with_progress([todo[at : at + batch_size] for at in range(0, len(todo), batch_size)]):
            users = order[rows]
            items, user_rows = histories.padded(users), histories.users[users]
            top = compute_top_k(recommender, items, user_rows, k, origin.exclude_seen, allowed)
            lists.ids[rows], lists.scores[rows], lists.keys[rows] = top.ids, top.scores, keys[rows]
            n_new += len(rows)
            if time.perf_counter() - last_write > every:
                write(file, origin, lists, names)
                last_write = time.perf_counter()
    finally:
        if n_new or (not len(todo) and (old is None or len(old) != len(order))):  # the latter: users were dropped
            write(file, origin, lists, names)
    return RefreshCounts(n_new, len(order) - len(todo), time.perf_counter() - start)


def _with_progress(batches: Sequence[IntArray]) -> Iterable[IntArray]:
    """The batches, with a progress bar on a terminal."""
    from rich.console import Console
    from rich.progress import track

    return track(batches, "recommend", console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
