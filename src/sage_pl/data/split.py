"""Which events are held out for validation and test.

A split reads sequences in flat form: user ``u``'s events are ``offsets[u]:offsets[u + 1]`` of ``times`` (row 0 is empty),
oldest first. A case is one held-out event; its input is everything before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from sage_pl.data.sources.raw import DataError
from sage_pl.errors import SettingError
from sage_pl.ranges import Fraction

IntArray = npt.NDArray[np.integer]


class Split(NamedTuple):
    """Training parts and cases; ``at`` is the 0-based position of a case within its user's sequence."""

    train_end: IntArray  # [U + 1] events 0..train_end - 1 of a user are training data
    valid_user: IntArray
    valid_at: IntArray
    test_user: IntArray
    test_at: IntArray


class SplitRule(Protocol):
    """How a split is made."""

    needs_clock: ClassVar[bool]  # True: times must be comparable between users

    def __call__(self, offsets: IntArray, times: IntArray) -> Split: ...


@dataclass(frozen=True)
class LeaveOneOut:
    """The last event of each user is the test case, the one before it the validation case.

    All events of users with fewer than three are training data; these users have no case.

    Reference: SASRec's protocol, as in LLM-ESR. Differs from LLM-ESR for users with fewer than three events only: there,
    evaluation scores their last training item (the released data have no such user).

    Raises:
        DataError: no user has three events.
    """

    needs_clock: ClassVar[bool] = False

    def __call__(self, offsets: IntArray, times: IntArray) -> Split:
        lengths = np.diff(offsets)
        held_out = lengths >= 3
        users = np.flatnonzero(held_out)
        if not len(users):
            raise DataError(f"no user has the three events of a test case, of {len(offsets) - 2} users; check the data")
        train_end = np.where(held_out, lengths - 2, lengths)
        return Split(train_end, users, lengths[users] - 2, users, lengths[users] - 1)


@dataclass(frozen=True)
class AllEvents:
    """Every event is training data and none is held out: for a model that serves (:mod:`sage_pl.runs.refitting`)."""

    needs_clock: ClassVar[bool] = False

    def __call__(self, offsets: IntArray, times: IntArray) -> Split:
        none = np.zeros(0, np.int64)
        return Split(np.diff(offsets), none, none, none, none)


@dataclass(frozen=True)
class GlobalTime:
    """Two borders in time cut the histories of all users, so every training event precedes every case.

    A border is the time of the event that the given share of all events precede. Training events lie before the validation
    border; a user's first event from that border until the test border is the validation case, the first one from the
    test border on the test case. A user's first event overall is no case, since its history is empty.

    Args:
        valid: share of the events before the validation border.
        test: share before the test border.

    Raises:
        SettingError: not 0 < valid < test < 1.
        DataError: the times are positions, not dates, or a part would be empty.
    """

    valid: Fraction = 0.8
    test: Fraction = 0.9
    needs_clock: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 < self.valid < self.test < 1:
            raise SettingError(f"split.valid={self.valid} and split.test={self.test}: wanted 0 < valid < test < 1")

    def __call__(self, offsets: IntArray, times: IntArray) -> Split:
        refuse_positions(offsets, times)
        ranks = [int(share * len(times)) for share in (self.valid, self.test)]
        valid_border, test_border = np.partition(times, ranks)[ranks]
        train_end = _before(offsets, times, valid_border)
        test_start = _before(offsets, times, test_border)
        lengths = np.diff(offsets)
        valid_user = np.flatnonzero((train_end < test_start) & (train_end > 0))
        test_user = np.flatnonzero((test_start < lengths) & (test_start > 0))
        if not (train_end.any() and len(valid_user) and len(test_user)):
            raise DataError(
                f"borders at times {valid_border} and {test_border} give {train_end.sum()} training events, "
                f"{len(valid_user)} validation and {len(test_user)} test cases; move split.valid and split.test "
                "or take split=leave_one_out"
            )
        return Split(train_end, valid_user, train_end[valid_user], test_user, test_start[test_user])


def _before(offsets: IntArray, times: IntArray, border: int) -> IntArray:
    """Events of each user before a time, [U + 1]."""
    running = np.concatenate([[0], np.cumsum(times < border)])
    return np.diff(running[offsets])


def are_positions(offsets: IntArray, times: IntArray) -> bool:
    """Whether times merely count each user's events from 0."""
    starts = offsets[:-1][np.diff(offsets) > 0]
    if times[starts].any():  # far cheaper than all positions
        return False
    return np.array_equal(np.arange(len(times)) - np.repeat(offsets[:-1], np.diff(offsets)), times)


def refuse_positions(offsets: IntArray, times: IntArray) -> None:
    """Refuse times that merely count each user's events from 0.

    Raises:
        DataError: every user's times are 0, 1, 2, ...
    """
    if are_positions(offsets, times):
        raise DataError(
            "timestamps are positions in each user's sequence (0, 1, 2, ...), not dates, so they cannot be compared between "
            "users; take split=leave_one_out or a data set with real times (journey, clothing)"
        )
