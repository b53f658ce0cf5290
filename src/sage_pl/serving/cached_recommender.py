"""Recommend from the cache if it is fresh, else live, else stale or popular; ``source`` says which."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from sage_pl.errors import SettingError
from sage_pl.serving.top_k_cache import CacheError, Origin, Scores, TopKCache
from sage_pl.types import PADDING, Recommender, TopK

if TYPE_CHECKING:
    from sage_pl.data.sequences import IntArray, Sequences

log = logging.getLogger(__name__)


class Answer(NamedTuple):
    """Recommended items, best first, and their source.

    ``source`` is ``cache`` (same history, same model), ``live`` (computed now), ``stale`` (an earlier history or another
    model; items seen since are masked) or ``popular``.
    """

    ids: IntArray  # [k], or fewer
    scores: Scores  # of the model; for ``popular``, counts of training events
    source: str


class CachedRecommender:
    """Recommends from a cache, a live model or popularity, in this order.

    Args:
        cache: lists of the users; None for none.
        origin: the model in use, and whether seen items are masked. None: the cache's own. If the two differ, a warning
            names the differences, and every cached list counts as stale.
        live: the model, for users without a fresh list; None for none.
        popular: see :func:`popular`; for users without a cached list, without a model.
        allowed: True for the rows of the item table that may be recommended; ``origin`` must name the restriction.

    Raises:
        SettingError: neither ``cache`` nor ``origin`` is given.
    """

    def __init__(
        self,
        cache: TopKCache | None,
        origin: Origin | None = None,
        live: Recommender | None = None,
        popular: tuple[IntArray, Scores] | None = None,
        allowed: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        if origin is None:
            if cache is None:
                raise SettingError(
                    "a recommender without cache= needs origin=, the model's name and the masking of seen items"
                )
            origin = cache.origin
        elif cache is not None and (other := cache.origin.differences(origin)):
            log.warning("%s was made with another %s; none of its lists counts as fresh", cache.file, ", ".join(other))
        self.cache = cache
        self.origin = origin
        self.live = live
        self.popular = popular
        self.allowed = allowed

    def recommend(self, name: str, items: IntArray, k: int, user: int = 0) -> Answer:
        """The k best items after a history.

        Args:
            name: id of the user in the data set.
            items: the whole history, oldest first.
            k: number of items.
            user: row of the user in the model's table of users (:class:`sage_pl.serving.Histories`), if it has one; 0 for
                a new user.

        Raises:
            CacheError: the cache has fewer than k items or no list of the user, and there is no other source.
        """
        row = None if self.cache is None else self.cache.row(name)
        if self.cache is not None and row is not None and k <= self.cache.k:
            lists = self.cache.lists
            if lists.keys[row] == self.origin.key(name, items):
                return _answer(lists.ids[row], lists.scores[row], k, "cache")
            if self.live is None:
                return _answer(*self._unseen(lists.ids[row], lists.scores[row], items), k, "stale")
        if self.live is not None:
            histories = np.asarray(items, np.int64)[None] if len(items) else np.zeros((1, 1), np.int64)
            top = compute_top_k(self.live, histories, np.array([user]), k, self.origin.exclude_seen, self.allowed)
            return _answer(top.ids[0].numpy(), top.scores[0].numpy(), k, "live")
        if row is None and self.popular is not None:
            return _answer(*self._unseen(*self.popular, items), k, "popular")
        size = "no list of the user" if self.cache is None or row is None else f"{self.cache.k} items"
        raise CacheError(
            f"no source of {k} items for {name!r}: the cache has {size}, and there is no model; make the lists again, long "
            "enough and for all users, or pass live="
        )

    def recommend_all(self, items: IntArray, users: IntArray, k: int) -> list[Answer]:
        """The k best items after each of several histories that no cached list belongs to.

        Args:
            items: the histories, oldest first, left-padded with 0: [B, L], L at least 1.
            users: see :meth:`recommend`, [B].
            k: items for each.
        """
        if self.live is None:
            return [self.recommend("", row[row != PADDING], k) for row in items]
        top = compute_top_k(self.live, items, users, k, self.origin.exclude_seen, self.allowed)
        return [
            _answer(ids, scores, k, "live") for ids, scores in zip(top.ids.numpy(), top.scores.numpy(), strict=True)
        ]

    def _unseen(self, ids: IntArray, scores: Scores, items: IntArray) -> tuple[IntArray, Scores]:
        unseen = ~np.isin(ids, items) if self.origin.exclude_seen else np.ones(len(ids), bool)
        if self.allowed is not None:
            unseen &= self.allowed[ids]
        return ids[unseen], scores[unseen]


def popular(data: Sequences) -> tuple[IntArray, Scores]:
    """The items with training events in descending order of count (ties: the smaller id first), and their counts."""
    counts = data.train_counts[1:-1]
    order = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]
    return order + 1, counts[order].astype(np.float64)


def compute_top_k(
    recommender: Recommender,
    items: IntArray,
    users: IntArray,
    k: int,
    exclude_seen: bool,
    allowed: npt.NDArray[np.bool_] | None = None,
) -> TopK:
    """``recommender.recommend`` of a batch of histories, moved to its device and back to the CPU."""
    device = getattr(recommender, "device", "cpu")
    histories, rows = (torch.from_numpy(array.astype(np.int64)).to(device) for array in (items, users))
    restriction = () if allowed is None else (torch.from_numpy(allowed).to(device),)
    top = recommender.recommend(histories, k, exclude_seen, rows, *restriction)
    return TopK(top.ids.cpu(), top.scores.cpu())


def _answer(ids: IntArray, scores: Scores, k: int, source: str) -> Answer:
    n = int((ids[:k] != PADDING).sum())
    return Answer(np.array(ids[:n]), np.array(scores[:n]), source)
