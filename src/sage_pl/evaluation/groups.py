"""Groups of evaluation cases: by popularity of the answer, length of the history, repeats and days."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal, get_args

import numpy as np
import numpy.typing as npt
import polars as pl

from sage_pl.artifacts.store import Artifact
from sage_pl.data.frequency import least_of_head
from sage_pl.data.sequences import Cases, IntArray, Sequences
from sage_pl.errors import SettingError
from sage_pl.ranges import MOST, Range

log = logging.getLogger(__name__)

BoolArray = npt.NDArray[np.bool_]
ItemRule = Literal["top20", "ts_item"]
Count = Literal["train", "all_users"]
POPULARITY = {"1-4": 1, "5-9": 5, "10-19": 10, "20-39": 20, "40+": 40}  # LLMEmb, Figure 5
LENGTH = {"1-4": 1, "5-9": 5, "10-14": 10, "15-19": 15, "20+": 20}  # reference code
FACTS = ("train_count", "user_count", "history", "repeat", "own_day", "item_head", "user_short")
BASIC = ("item_head", "item_tail", "item_unseen", "user_short", "user_long")
FAMILIES = {
    "head and tail": ("item_head", "item_tail", "user_short", "user_long"),
    "training events of the answer": ("item_unseen", *(f"item_{band}" for band in POPULARITY)),
    "events before the answer": tuple(f"user_{band}" for band in LENGTH),
    "users by items": tuple(f"user_{user}_item_{item}" for user in ("short", "long") for item in ("head", "tail")),
    "repeats and days": ("answer_repeat", "answer_new", "day_own", "day_shared"),
}
_DATES = 100_000_000  # largest time at least this (March 1973 in Unix seconds): times are dates, else positions


class Groups(Mapping[str, BoolArray]):
    """Groups of a split's cases: name -> [K], True where the case belongs to the group (:func:`members`).

    Item rules, for ``item_head`` and ``item_tail``:
        ``top20``: head = the 20 % most popular of the items with a count. Items that tie with the last of them are head
        too, so that equal counts mean equal groups; head can therefore exceed 20 %.
        ``ts_item``: tail = count below ``ts_item``.

    Counts:
        ``train``: events of the training part.
        ``all_users``: distinct users over training, validation and test part, as in the reference code; with
        ``item_rule="ts_item"`` this gives the groups of the published LLM-ESR rows. It counts held-out events, hence is
        for comparison only.

    Args:
        sequences: the data, for the counts.
        cases: the split's cases.
        ts_user: shorter histories are short; lengths are not capped at the model's window.
        item_rule: ``top20`` or ``ts_item``.
        ts_item: lower counts are tail; required by the rule of that name, ignored by the other.
        count: ``train`` or ``all_users``.
        days: day of each event of ``sequences.values``, -1 where unknown; None where no event has a real time.

    Attributes:
        facts: the columns ``FACTS``, one row per case, from which all groups follow.
        tail_items: [N + 2], True for items that make an answer ``item_tail``.

    Raises:
        SettingError: an unknown rule or count, or a threshold that is absent or below 1.
    """

    READ_WITH: ClassVar = {"ts_item": ("item_rule", "ts_item")}

    def __init__(
        self,
        sequences: Sequences,
        cases: Cases,
        *,
        ts_user: Annotated[int, Range(1, MOST)],
        item_rule: ItemRule = "top20",
        ts_item: Annotated[int, Range(1, MOST)] | None = None,
        count: Count = "train",
        days: IntArray | None = None,
    ) -> None:
        if count not in get_args(Count):
            raise SettingError(f"count is {count!r}; choose from {', '.join(get_args(Count))}")
        if ts_user < 1:
            raise SettingError(f"ts_user is {ts_user}; set a history length of at least 1 (dataset.ts_user)")
        users = distinct_users(sequences)
        counts = sequences.train_counts if count == "train" else users
        self.tail_items = counts < _head_threshold(counts, item_rule, ts_item)
        case, item = histories(sequences, cases)
        self.facts = pl.DataFrame(
            {
                "train_count": sequences.train_counts[cases.answer],
                "user_count": users[cases.answer],
                "history": np.asarray(cases.at, np.int64),
                "repeat": np.bincount(case[item == cases.answer[case]], minlength=len(cases)) > 0,
                "own_day": _own_day(sequences, cases, days),
                "item_head": ~self.tail_items[cases.answer],
                "user_short": np.asarray(cases.at < ts_user),
            }
        )
        self._members = members(self.facts)
        self.n_cases = len(cases)

    def __getitem__(self, name: str) -> BoolArray:
        return self._members[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)


def members(facts: pl.DataFrame) -> dict[str, BoolArray]:
    """All groups: name -> [K].

    - ``item_head`` / ``item_tail``: popularity of the answer. Every case is in exactly one.
    - ``item_unseen``: the answer never occurs in the training part.
    - ``item_1-4`` ... ``item_40+``: training events of the answer; with ``item_unseen`` every case is in one.
    - ``user_short`` / ``user_long``, ``user_1-4`` ... ``user_20+``: events before the answer.
    - ``user_short_item_head`` and the three other cells of the two.
    - ``answer_repeat`` / ``answer_new``: the answer is in the history, or not.
    - ``day_own`` / ``day_shared``: no other event of the user is on the answer's day, or one is, so that their order is
      the source's. A case of unknown day is in neither; both are absent where all days are unknown.

    Args:
        facts: a table with the columns ``FACTS``, such as ``ranks.parquet``.
    """
    head, short, repeat = (facts[name].to_numpy() for name in ("item_head", "user_short", "repeat"))
    counts, lengths = (facts[name].to_numpy() for name in ("train_count", "history"))
    groups = {"item_head": head, "item_tail": ~head, "item_unseen": counts == 0}
    groups |= {"user_short": short, "user_long": ~short}
    groups |= _bands("item", counts, POPULARITY) | _bands("user", lengths, LENGTH)
    for user, item in ((u, i) for u in ("short", "long") for i in ("head", "tail")):
        groups[f"user_{user}_item_{item}"] = groups[f"user_{user}"] & groups[f"item_{item}"]
    groups |= {"answer_repeat": repeat, "answer_new": ~repeat}
    alone = facts["own_day"]
    if alone.is_not_null().any():
        groups |= {"day_own": alone.fill_null(False).to_numpy(), "day_shared": (~alone).fill_null(False).to_numpy()}
    return groups


def days(artifact: Artifact) -> IntArray | None:
    """Day (UTC) of each event of the ``sequences`` artifact, -1 where unknown; None if its times are positions."""
    clock = "clock" if (artifact.path / "clock.npy").is_file() else "times"
    times = artifact.array(clock)
    return np.where(times < 0, -1, times // 86_400) if times.max(initial=0) >= _DATES else None


def distinct_users(sequences: Sequences) -> IntArray:
    """Distinct users of each item, held-out events included, [N + 2]."""
    user = np.repeat(np.arange(len(sequences.lengths)), sequences.lengths)
    pairs = np.unique(user * (sequences.n_items + 1) + sequences.values)
    return np.bincount(pairs % (sequences.n_items + 1), minlength=sequences.n_items + 2)


def histories(sequences: Sequences, cases: Cases) -> tuple[IntArray, IntArray]:
    """Every event of every case's history: row of the case, and item."""
    case = np.repeat(np.arange(len(cases)), cases.at)
    position = np.arange(len(case)) - np.repeat(np.cumsum(cases.at) - cases.at, cases.at)
    return case, sequences.values[sequences.offsets[cases.user[case]] + position]


def _bands(kind: str, numbers: IntArray, starts: Mapping[str, int]) -> dict[str, BoolArray]:
    band = np.searchsorted(list(starts.values()), numbers, side="right") - 1
    return {f"{kind}_{name}": band == index for index, name in enumerate(starts)}


def _own_day(sequences: Sequences, cases: Cases, days: IntArray | None) -> pl.Series:
    """True where the events next to the answer are on other days, [K]; null where one of the three days is unknown."""
    if days is None:
        return pl.Series([None] * len(cases), dtype=pl.Boolean)
    event = sequences.offsets[cases.user] + cases.at
    last = cases.at + 1 == sequences.lengths[cases.user]
    before, day, after = days[event - (cases.at > 0)], days[event], days[event + ~last]
    alone = ((before != day) | (cases.at == 0)) & ((after != day) | last)
    has_days = np.minimum(np.minimum(before, day), after) >= 0
    return pl.DataFrame({"alone": alone, "has_days": has_days}).select(pl.when("has_days").then("alone"))["alone"]


def _head_threshold(counts: IntArray, item_rule: ItemRule, ts_item: int | None) -> int:
    """Smallest count of a head item."""
    if item_rule == "ts_item":
        if ts_item is None or ts_item < 1:
            raise SettingError(f"item_rule=ts_item needs ts_item of at least 1 (dataset.ts_item), got {ts_item}")
        return ts_item
    if item_rule != "top20":
        raise SettingError(f"item_rule is {item_rule!r}; choose from {', '.join(get_args(ItemRule))}")
    return least_of_head(counts)
