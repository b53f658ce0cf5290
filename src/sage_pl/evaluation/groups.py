"""Which cases are head or tail: groups of items by popularity and of users by length of history."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from sage_pl.data.sequences import Cases, IntArray, Sequences

log = logging.getLogger(__name__)

ItemRule = Literal["top20", "ts_item"]
Count = Literal["train", "all_users"]


class Groups(Mapping[str, npt.NDArray[np.bool_]]):
    """Groups of a split's cases: name -> [K], True where the case belongs to the group.

    - ``item_head`` / ``item_tail``: popularity of the answer, by ``item_rule``. Every case is in exactly one.
    - ``item_unseen``: the answer never occurs in the training part; with ``count="train"`` part of ``item_tail``.
    - ``user_short`` / ``user_long``: fewer than ``ts_user`` events before the answer, or not.

    Item rules:
        ``top20``: head = the 20 % most popular of the items that have a count. Items that tie with the last of them are
        head too, so that equal items are never told apart; head can therefore exceed 20 %.
        ``ts_item``: tail = count below ``ts_item``.

    Counts:
        ``train``: events of the training part.
        ``all_users``: distinct users over training, validation and test part. The reference code counts so, and with
        ``item_rule="ts_item"`` this gives the groups of the published LLM-ESR rows. It looks at the held-out
        events, hence is for comparison only.

    Args:
        sequences: the data, for the counts.
        cases: the split's cases.
        ts_user: histories shorter than this are short; not capped at the model's window.
        item_rule: ``top20`` or ``ts_item``.
        ts_item: counts below this are tail; needed by the rule of that name, ignored by the other.
        count: ``train`` or ``all_users``.

    Raises:
        ValueError: an unknown rule or count, or a threshold that is missing or below 1.
    """

    def __init__(
        self,
        sequences: Sequences,
        cases: Cases,
        *,
        ts_user: int,
        item_rule: ItemRule = "top20",
        ts_item: int | None = None,
        count: Count = "train",
    ) -> None:
        if count not in get_args(Count):
            raise ValueError(f"count is {count!r}; choose from {', '.join(get_args(Count))}")
        if ts_user < 1:
            raise ValueError(f"ts_user is {ts_user}; give a history length of at least 1 (dataset.ts_user)")
        counts = sequences.train_counts if count == "train" else distinct_users(sequences)
        tail = counts[cases.answer] < _head_threshold(counts, item_rule, ts_item)
        short = cases.at < ts_user
        self._members = {
            "item_head": ~tail,
            "item_tail": tail,
            "item_unseen": sequences.train_counts[cases.answer] == 0,
            "user_short": short,
            "user_long": ~short,
        }
        self.n_cases = len(cases)
        log.info("groups of %d cases: %s", len(cases), ", ".join(f"{k} {v.sum()}" for k, v in self.items()))

    def __getitem__(self, name: str) -> npt.NDArray[np.bool_]:
        return self._members[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)


def distinct_users(sequences: Sequences) -> IntArray:
    """Users that ever touched each item, held-out events included, [N + 2]."""
    user = np.repeat(np.arange(len(sequences.lengths)), sequences.lengths)
    pairs = np.unique(user * (sequences.n_items + 1) + sequences.values)
    return np.bincount(pairs % (sequences.n_items + 1), minlength=sequences.n_items + 2)


def _head_threshold(counts: IntArray, item_rule: ItemRule, ts_item: int | None) -> int:
    """Smallest count of a head item."""
    if item_rule == "ts_item":
        if ts_item is None or ts_item < 1:
            raise ValueError(f"item_rule=ts_item needs ts_item of at least 1 (dataset.ts_item), got {ts_item}")
        return ts_item
    if item_rule != "top20":
        raise ValueError(f"item_rule is {item_rule!r}; choose from {', '.join(get_args(ItemRule))}")
    counted = np.sort(counts[counts > 0])[::-1]
    if not len(counted):
        raise ValueError("no item has a count; the training part is empty")
    return int(counted[-(-len(counted) // 5) - 1])
