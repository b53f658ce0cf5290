"""Answers from kept lists where they are fresh, else from the model, else the best there is; each says what it is."""

from __future__ import annotations

import logging
from typing import NamedTuple

import numpy as np
import torch

from sage_pl.data.sequences import IntArray, Sequences
from sage_pl.errors import SettingError
from sage_pl.serving.top_k_cache import CacheError, Origin, Scores, TopKCache
from sage_pl.types import PADDING, Recommender, TopK

log = logging.getLogger(__name__)


class Served(NamedTuple):
    """Recommended items, best first, and where they come from.

    ``source`` is ``cache`` (made of this very history by this very model), ``live`` (made now), ``stale`` (made of an
    earlier history, or by another model, without what was seen since) or ``popular``.
    """

    ids: IntArray  # [k], or fewer
    scores: Scores  # of the model; for ``popular``, training events
    source: str


class CachedRecommender:
    """Answers from the cache where the history is the one it was made of, and says where it is not.

    Args:
        cache: the kept lists; None for none.
        origin: the model in use, and whether what is in a history is left out. None: those the cache was made with. Where
            they are others, a warning names the differences, and no kept list counts as fresh.
        live: the model, asked where there is no fresh list; None where no model is at hand.
        popular: see :func:`popular`; for users without a kept list, when there is no model.

    Raises:
        SettingError: neither ``cache`` nor ``origin`` is given.
    """

    def __init__(
        self,
        cache: TopKCache | None,
        origin: Origin | None = None,
        live: Recommender | None = None,
        popular: tuple[IntArray, Scores] | None = None,
    ) -> None:
        if origin is None:
            if cache is None:
                raise SettingError("a recommender without cache= needs origin=, which says what lists are made with")
            origin = cache.origin
        elif cache is not None and (other := cache.origin.differences(origin)):
            log.warning("%s was made with another %s; none of its lists counts as fresh", cache.file, ", ".join(other))
        self.cache = cache
        self.origin = origin
        self.live = live
        self.popular = popular

    def recommend(self, name: str, items: IntArray, k: int, user: int = 0) -> Served:
        """The k best items after a history.

        Args:
            name: the user, as the data set calls them.
            items: the whole history, oldest first.
            k: how many.
            user: id the model was trained with (:class:`sage_pl.serving.Histories`), for a model that knows its users; 0 for
                somebody new.

        Raises:
            CacheError: the cache keeps fewer than k, or knows nothing of the user, and there is nothing else to ask.
        """
        row = None if self.cache is None else self.cache.row(name)
        if self.cache is not None and row is not None and k <= self.cache.k:
            kept = self.cache.lists
            if kept.keys[row] == self.origin.key(name, items):
                return _served(kept.ids[row], kept.scores[row], k, "cache")
            if self.live is None:
                return _served(*self._unseen(kept.ids[row], kept.scores[row], items), k, "stale")
        if self.live is not None:
            histories = np.asarray(items, np.int64)[None] if len(items) else np.zeros((1, 1), np.int64)
            found = ask(self.live, histories, np.array([user]), k, self.origin.exclude_seen)
            return _served(found.ids[0].numpy(), found.scores[0].numpy(), k, "live")
        if row is None and self.popular is not None:
            return _served(*self._unseen(*self.popular, items), k, "popular")
        keeps = "no list of theirs" if self.cache is None or row is None else self.cache.k
        raise CacheError(
            f"{k} items for {name!r} are wanted; the cache keeps {keeps}, and there is no model to ask: make the lists "
            "again, long enough and for all users, or give live="
        )

    def _unseen(self, ids: IntArray, scores: Scores, items: IntArray) -> tuple[IntArray, Scores]:
        left = ~np.isin(ids, items) if self.origin.exclude_seen else np.ones(len(ids), bool)
        return ids[left], scores[left]


def popular(data: Sequences) -> tuple[IntArray, Scores]:
    """The items that have training events, most of them first (of equally many the smaller id), and how many they have."""
    counts = data.train_counts[1:-1]
    order = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]
    return order + 1, counts[order].astype(np.float64)


def ask(recommender: Recommender, items: IntArray, users: IntArray, k: int, exclude_seen: bool) -> TopK:
    """The model's answer, on the CPU."""
    device = getattr(recommender, "device", "cpu")
    histories, names = (torch.from_numpy(array.astype(np.int64)).to(device) for array in (items, users))
    found = recommender.recommend(histories, k, exclude_seen, names)
    return TopK(found.ids.cpu(), found.scores.cpu())


def _served(ids: IntArray, scores: Scores, k: int, source: str) -> Served:
    n = int((ids[:k] != PADDING).sum())
    return Served(np.array(ids[:n]), np.array(scores[:n]), source)
