from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage_pl.data.sources.raw import DataError
from sage_pl.data.split import AllEvents, GlobalTime, LeaveOneOut, Split, refuse_positions

Users = list[list[int]]  # each user's times


def flat(users: Users) -> tuple[np.ndarray, np.ndarray]:
    offsets = np.cumsum([0, 0, *map(len, users)])
    return offsets, np.array([time for user in users for time in user], dtype=np.int64)


def cases(users: np.ndarray, at: np.ndarray) -> dict[int, int]:
    return dict(zip(users.tolist(), at.tolist(), strict=True))


def test_leave_one_out_by_hand() -> None:
    split = LeaveOneOut()(*flat([[0], [0, 1], [0, 1, 2], [5, 6, 7, 8, 9]]))
    assert split.train_end.tolist() == [0, 1, 2, 1, 3]
    assert cases(split.valid_user, split.valid_at) == {3: 1, 4: 3}
    assert cases(split.test_user, split.test_at) == {3: 2, 4: 4}


def test_all_events_are_training_data() -> None:
    split = AllEvents()(*flat([[0], [0, 1, 2]]))
    assert split.train_end.tolist() == [0, 1, 3]
    assert [len(part) for part in split[1:]] == [0, 0, 0, 0]


def test_leave_one_out_without_a_case_is_refused() -> None:
    with pytest.raises(DataError, match="no user has the three events of a test case, of 2 users"):
        LeaveOneOut()(*flat([[0], [0, 1]]))


def naive_global_time(users: Users, valid: float, test: float) -> tuple[list[int], dict[int, int], dict[int, int]]:
    ordered = sorted(time for user in users for time in user)
    borders = [ordered[int(share * len(ordered))] for share in (valid, test)]
    ends, valid_cases, test_cases = [0], {}, {}
    for number, times in enumerate(users, 1):
        ends.append(sum(time < borders[0] for time in times))
        for at, time in enumerate(times):
            if at > 0 and borders[0] <= time < borders[1]:
                valid_cases.setdefault(number, at)
            if at > 0 and time >= borders[1]:
                test_cases.setdefault(number, at)
    return ends, valid_cases, test_cases


# The naive version takes the first event *with* history in a window; a case is the first event of the window itself, so
# a user whose window opens with their very first event must not appear at all.
def without_cold(users: Users, found: dict[int, int], start: int, end: float) -> dict[int, int]:
    return {user: at for user, at in found.items() if not start <= users[user - 1][0] < end}


@settings(max_examples=60)
@given(st.lists(st.lists(st.integers(1, 50), min_size=1, max_size=8).map(sorted), min_size=2, max_size=12))
def test_global_time_equals_naive(users: Users) -> None:
    ordered = sorted(time for user in users for time in user)
    borders = [ordered[int(share * len(ordered))] for share in (0.5, 0.75)]
    ends, valid_cases, test_cases = naive_global_time(users, 0.5, 0.75)
    valid_cases = without_cold(users, valid_cases, borders[0], borders[1])
    test_cases = without_cold(users, test_cases, borders[1], np.inf)
    if not (any(ends) and valid_cases and test_cases):
        with pytest.raises(DataError, match="training events"):
            GlobalTime(0.5, 0.75)(*flat(users))
        return
    split = GlobalTime(0.5, 0.75)(*flat(users))
    assert split.train_end.tolist() == ends
    assert cases(split.valid_user, split.valid_at) == valid_cases
    assert cases(split.test_user, split.test_at) == test_cases


def test_global_time_never_trains_on_the_future() -> None:
    random = np.random.default_rng(0)
    users = [sorted(random.integers(1000, size=n).tolist()) for n in random.integers(2, 20, size=40)]
    offsets, times = flat(users)
    split = GlobalTime()(offsets, times)
    position = np.arange(len(times)) - np.repeat(offsets[:-1], np.diff(offsets))
    trained = position < np.repeat(split.train_end, np.diff(offsets))
    held_out = np.concatenate(
        [times[offsets[split.valid_user] + split.valid_at], times[offsets[split.test_user] + split.test_at]]
    )
    assert times[trained].max() < held_out.min()


@pytest.mark.parametrize("rule", [LeaveOneOut(), GlobalTime()], ids=["leave one out", "global time"])
def test_cases_lie_after_training_and_inside(rule: LeaveOneOut | GlobalTime) -> None:
    random = np.random.default_rng(1)
    offsets, times = flat([sorted(random.integers(500, size=n).tolist()) for n in random.integers(1, 15, size=50)])
    split: Split = rule(offsets, times)
    lengths = np.diff(offsets)
    for users, at in ((split.valid_user, split.valid_at), (split.test_user, split.test_at)):
        assert len(np.unique(users)) == len(users) > 0
        assert (at >= split.train_end[users]).all()
        assert (at < lengths[users]).all()
        assert (at > 0).all()
    assert split.train_end[0] == 0
    assert (split.train_end <= lengths).all()


def test_positions_are_no_clock() -> None:
    offsets, times = flat([[0, 1, 2], [0, 1], [0, 1, 2, 3]])
    with pytest.raises(DataError, match=r"positions.*split=leave_one_out"):
        GlobalTime()(offsets, times)
    refuse_positions(offsets, times + 1)  # real times pass


@pytest.mark.parametrize(
    ("valid", "test"), [(0.9, 0.8), (0.0, 0.5), (0.5, 1.0)], ids=["swapped", "no train", "no test"]
)
def test_borders_must_be_in_order(valid: float, test: float) -> None:
    with pytest.raises(ValueError, match="0 < valid < test < 1"):
        GlobalTime(valid, test)
