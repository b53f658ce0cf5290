"""The k best items of every user, made beforehand and kept in one memory-mapped file."""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from sage_pl.artifacts import whole_file
from sage_pl.data.sequences import IntArray
from sage_pl.serving.histories import Histories
from sage_pl.types import PADDING, Recommender, TopK

Scores = npt.NDArray[np.floating]


class CacheError(ValueError):
    """A file of kept lists is damaged, or not what is asked for."""


class Served(NamedTuple):
    """Recommended items, best first, and where they come from.

    ``source`` is ``cache`` (made of this very history by this very model), ``live`` (made now), ``stale`` (made of an
    earlier history, or by another model, without what was seen since) or ``popular``.
    """

    ids: IntArray  # [k], or fewer
    scores: Scores  # of the model; for ``popular``, training events
    source: str


def row_type(k: int) -> np.dtype[np.void]:
    """One user's row: hash of the user's name, :func:`history_key`, items best first (0 where there are fewer), scores."""
    return np.dtype([("user", "<u8"), ("key", "<u8"), ("ids", "<i4", (k,)), ("scores", "<f4", (k,))])


def history_key(model: str, name: str, items: IntArray) -> int:
    """A hash of all that a list follows from, never 0: the model, the user, the items in their order."""
    told = b"%s\0%s\0%s" % (model.encode(), name.encode(), np.asarray(items, "<i8").tobytes())
    return _hash(told) or 1


def user_hash(name: str) -> int:
    return _hash(name.encode())


def _hash(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


class TopKCache:
    """A file written by :func:`refresh`: an array of :func:`row_type`, sorted by user.

    A lookup is a binary search and one row read from the page cache; the file is never loaded whole. Its replacement by a
    newer one leaves an open cache as it is: open it again.

    Args:
        file: ``.npy``.

    Raises:
        FileNotFoundError: there is no such file.
        CacheError: it is not such a file.
    """

    def __init__(self, file: str | Path) -> None:
        if not Path(file).is_file():
            raise FileNotFoundError(f"there is no {file}; make it with scripts/recommend.py checkpoint=FILE users=all")
        try:
            self.table = np.load(file, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            raise CacheError(f"{file} is damaged ({error}); remove it and make it again") from error
        shape = self.table.dtype["ids"].shape if "ids" in (self.table.dtype.names or ()) else (0,)
        if self.table.dtype != row_type(*shape):
            raise CacheError(f"{file} holds {self.table.dtype}, not lists of recommended items; remove or rename it")
        self.k = shape[0]
        self._users = np.ascontiguousarray(self.table["user"])

    def __len__(self) -> int:
        return len(self.table)

    def row(self, name: str) -> np.void | None:
        """What is kept for a user, of whatever history; None where there is nothing."""
        wanted = user_hash(name)
        at = int(np.searchsorted(self._users, np.uint64(wanted)))
        return self.table[at] if at < len(self) and self._users[at] == wanted else None


class CachedRecommender:
    """Answers from the cache where the history is the one it was made of, and says where it is not.

    Args:
        cache: the kept lists; None for none.
        model: the name they were made under, see :func:`refresh`.
        exclude_seen: leave out what is in the history.
        live: asked where the cache has no list of this history; None where no model is at hand.
        popular: items by popularity, for users without anything kept, when there is no model; scores are their counts.
    """

    def __init__(
        self,
        cache: TopKCache | None,
        model: str,
        exclude_seen: bool,
        live: Recommender | None = None,
        popular: tuple[IntArray, Scores] | None = None,
    ) -> None:
        self.cache = cache
        self.model = model
        self.exclude_seen = exclude_seen
        self.live = live
        self.popular = popular

    def recommend(self, name: str, items: IntArray, k: int, user: int = 0) -> Served:
        """The k best items after a history.

        Args:
            name: the user, as the data set calls them.
            items: the whole history, oldest first.
            k: how many.
            user: id the model was trained with; 0 for somebody new.

        Raises:
            CacheError: the cache keeps fewer than k, or knows nothing of the user, and there is nothing else to ask.
        """
        keeps = 0 if self.cache is None else self.cache.k
        row = self.cache.row(name) if self.cache is not None and k <= keeps else None
        if row is not None and row["key"] == history_key(self.model, name, items):
            return _served(row["ids"], row["scores"], k, "cache")
        if self.live is not None:
            histories = np.asarray(items, np.int64)[None] if len(items) else np.zeros((1, 1), np.int64)
            found = _ask(self.live, histories, np.array([user]), k, self.exclude_seen)
            return _served(found.ids[0].numpy(), found.scores[0].numpy(), k, "live")
        if row is not None:
            return _served(*self._unseen(row["ids"], row["scores"], items), k, "stale")
        if self.popular is None or k > keeps:
            raise CacheError(
                f"{k} items for {name!r} are wanted; the cache keeps {keeps} per user, and there is no model to ask: make it "
                "again with a larger k, or give live="
            )
        return _served(*self._unseen(*self.popular, items), k, "popular")

    def _unseen(self, ids: IntArray, scores: Scores, items: IntArray) -> tuple[IntArray, Scores]:
        left = ~np.isin(ids, items) if self.exclude_seen else np.ones(len(ids), bool)
        return ids[left], scores[left]


class Refreshed(NamedTuple):
    """What :func:`refresh` did."""

    made: int
    kept: int
    seconds: float


def refresh(
    file: str | Path,
    histories: Histories,
    model: str,
    recommender: Recommender,
    k: int,
    exclude_seen: bool,
    batch_size: int = 128,
    every: float = 300.0,
) -> Refreshed:
    """Make the lists whose history or model changed, keep the others, and replace the file in one move.

    What is done is written every few minutes, and when the work is interrupted: the next call goes on from there.

    Args:
        file: ``.npy``; its folder is made if it is missing.
        histories: of all users the file is to have; others are dropped.
        model: names the model and all its settings that change lists (a digest of its checkpoint and ``exclude_seen``).
        recommender: asked batch by batch, users of like length together.
        k: items per user. With another k than the file's everything is made again.
        exclude_seen: leave out what is in the history.
        batch_size: users at once.
        every: seconds between writes.

    Raises:
        CacheError: ``file`` is something else.
    """
    start = time.perf_counter()
    table = _carried_over(Path(file), histories, k)
    keys = np.array([history_key(model, name, histories[row]) for row, name in enumerate(histories.names)], np.uint64)
    todo = np.flatnonzero(table["key"] != keys)
    todo = todo[np.argsort(histories.lengths[todo], kind="stable")]
    batches = [todo[at : at + batch_size] for at in range(0, len(todo), batch_size)]
    made, written = 0, time.perf_counter()
    try:
        for rows in _shown(batches):
            found = _ask(recommender, histories.padded(rows), histories.users[rows], k, exclude_seen)
            table["ids"][rows], table["scores"][rows] = found.ids, found.scores
            table["key"][rows] = keys[rows]
            made += len(rows)
            if time.perf_counter() - written > every:
                _write(Path(file), table)
                written = time.perf_counter()
    finally:
        if made:
            _write(Path(file), table)
    if not made and len(TopKCache(file)) != len(table):  # users are gone
        _write(Path(file), table)
    return Refreshed(made, len(table) - len(todo), time.perf_counter() - start)


def _carried_over(file: Path, histories: Histories, k: int) -> npt.NDArray[np.void]:
    """A row per user, with what the file keeps for them; ``key`` is 0 where that is nothing."""
    table = np.zeros(len(histories), row_type(k))
    table["user"] = [user_hash(name) for name in histories.names]
    if len(np.unique(table["user"])) < len(table):
        raise CacheError("two users share a name, or a hash of 64 bits; give every user an id of their own")
    if file.is_file() and (old := TopKCache(file)).k == k and len(old):
        at = np.minimum(np.searchsorted(old.table["user"], table["user"]), len(old) - 1)
        same = old.table["user"][at] == table["user"]
        table[same] = old.table[at[same]]
    return table


def _write(file: Path, table: npt.NDArray[np.void]) -> None:
    done = table[table["key"] != 0]
    with whole_file(file) as part, part.open("wb") as stream:
        np.save(stream, done[np.argsort(done["user"])], allow_pickle=False)


def _ask(recommender: Recommender, items: IntArray, users: IntArray, k: int, exclude_seen: bool) -> TopK:
    """The model's answer, on the CPU."""
    device = getattr(recommender, "device", "cpu")
    histories, names = (torch.from_numpy(array.astype(np.int64)).to(device) for array in (items, users))
    found = recommender.recommend(histories, k, exclude_seen, names)
    return TopK(found.ids.cpu(), found.scores.cpu())


def _served(ids: IntArray, scores: Scores, k: int, source: str) -> Served:
    n = int((ids[:k] != PADDING).sum())
    return Served(np.array(ids[:n]), np.array(scores[:n]), source)


def _shown(batches: Sequence[IntArray]) -> Iterable[IntArray]:
    """The batches, with a progress bar on a terminal."""
    from rich.console import Console
    from rich.progress import track

    return track(batches, "recommend", console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
