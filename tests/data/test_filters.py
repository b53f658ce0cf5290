from __future__ import annotations

from collections import Counter

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage_pl.data.filters import (
    AtLeast,
    DropDuplicates,
    DropRepeats,
    Filter,
    KCore,
    LastItems,
    OneOf,
    Period,
    SinglePass,
)
from sage_pl.data.sources.raw import DataError, unix_seconds
from sage_pl.errors import SettingError

Row = tuple[int, int, int]
COLUMNS = ["user_id", "item_id", "timestamp"]


def table(rows: list[Row]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=dict.fromkeys(COLUMNS, pl.Int64), orient="row")


def naive_k_core(rows: list[Row], user: int, item: int) -> list[Row]:
    while True:
        users, items = Counter(r[0] for r in rows), Counter(r[1] for r in rows)
        kept = [r for r in rows if users[r[0]] >= user and items[r[1]] >= item]
        if len(kept) == len(rows):
            return kept
        rows = kept


def naive_single_pass(rows: list[Row], user: int, item: int) -> list[Row]:
    users, items = Counter(r[0] for r in rows), Counter(r[1] for r in rows)
    kept = [r for r in rows if users[r[0]] >= user and items[r[1]] >= item]
    left = Counter(r[0] for r in kept)
    return [r for r in kept if left[r[0]] >= user]


def naive_last(rows: list[Row], n: int) -> list[Row]:
    keep = set()
    for user in {r[0] for r in rows}:
        own = sorted((r[2], i) for i, r in enumerate(rows) if r[0] == user)
        keep |= {i for _, i in own[-n:]}
    return [r for i, r in enumerate(rows) if i in keep]


def naive_drop_repeats(rows: list[Row]) -> list[Row]:
    first: dict[tuple[int, int], tuple[int, int]] = {}
    for i, (user, item, time) in enumerate(rows):
        first[user, item] = min(first.get((user, item), (time, i)), (time, i))
    keep = {i for _, i in first.values()}
    return [r for i, r in enumerate(rows) if i in keep]


CASES = [
    pytest.param(KCore(2, 3), lambda rows: naive_k_core(rows, 2, 3), id="k-core"),
    pytest.param(SinglePass(2, 3), lambda rows: naive_single_pass(rows, 2, 3), id="single pass"),
    pytest.param(LastItems(2), lambda rows: naive_last(rows, 2), id="last items"),
    pytest.param(DropRepeats(), naive_drop_repeats, id="drop repeats"),
    pytest.param(Period(2, 5), lambda rows: [r for r in rows if 2 <= r[2] < 5], id="period"),
]


@pytest.mark.parametrize(("rule", "naive"), CASES)
@pytest.mark.parametrize("seed", range(4))
def test_equals_naive_version_in_order(rule: Filter, naive, seed: int) -> None:
    random = np.random.default_rng(seed)
    rows = list(zip(*(random.integers(n, size=60).tolist() for n in (8, 12, 7)), strict=True))
    assert rule(table(rows)).rows() == naive(rows)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 9)), min_size=1, max_size=40))
def test_k_core_is_stable_and_complete(rows: list[Row]) -> None:
    expected = naive_k_core(rows, 2, 2)
    if not expected:
        with pytest.raises(DataError, match="leaves nothing"):
            KCore(2, 2)(table(rows))
    else:
        core = KCore(2, 2)(table(rows))
        assert core.rows() == expected
        assert KCore(2, 2)(core).equals(core)


def test_single_pass_may_leave_items_below_their_threshold() -> None:
    rows = [(1, 1, 0), (1, 2, 1), (2, 1, 0)]  # item 1 is frequent only through user 2, who is dropped
    assert SinglePass(2, 1)(table(rows)).rows() == rows[:2]
    with pytest.raises(DataError):
        KCore(2, 2)(table(rows))


def test_lazy_in_lazy_out() -> None:
    frame = table([(1, 1, 0), (1, 2, 1), (1, 3, 2)])
    lazy = LastItems(2)(frame.lazy())
    assert isinstance(lazy, pl.LazyFrame)
    assert lazy.collect().equals(LastItems(2)(frame))


def test_text_ids_are_filtered_too() -> None:
    frame = pl.DataFrame({"user_id": ["a", "a", "b"], "item_id": ["x", "y", "x"], "timestamp": [0, 1, 2]})
    assert KCore(2, 1)(frame)["user_id"].to_list() == ["a", "a"]


@pytest.mark.parametrize(
    ("start", "end", "kept"),
    [(None, "1970-01-02", [0]), ("1970-01-02", None, [86_400, 172_800]), (86_400, 172_800, [86_400])],
    ids=["until", "from", "between"],
)
def test_period_takes_dates_and_seconds(start: str | int | None, end: str | int | None, kept: list[int]) -> None:
    frame = table([(1, 1, 0), (1, 2, 86_400), (1, 3, 172_800)])
    assert Period(start, end)(frame)["timestamp"].to_list() == kept


def test_a_period_of_no_date_is_a_mistake_of_the_user() -> None:
    with pytest.raises(SettingError, match=r"'last year' is no date; wanted YYYY-MM-DD"):
        Period(start="last year")(table([(1, 1, 0)]))
    with pytest.raises(SettingError, match="2012 is no date"):
        unix_seconds(2012)  # type: ignore[arg-type]  # as the command line reads it


@pytest.mark.parametrize(
    "rule", [KCore(9, 9), SinglePass(9, 9), Period(start=99)], ids=lambda rule: type(rule).__name__
)
def test_emptying_the_data_is_an_error_with_counts(rule: Filter) -> None:
    with pytest.raises(DataError, match=rf"{type(rule).__name__}\(.*nothing of 2 interactions of 1 users and 2 items"):
        rule(table([(1, 1, 0), (1, 2, 1)]))


def test_last_items_wants_at_least_one() -> None:
    with pytest.raises(ValueError, match="n is 0"):
        LastItems(0)


def rated(values: list[str | float | None]) -> pl.DataFrame:
    frame = table([(1, item, 0) for item in range(len(values))])
    return frame.with_columns(
        pl.Series("rating", values), event=pl.Series([" buy", "view", "buy ", None][: len(values)])
    )


def test_values_of_a_column() -> None:
    for values in (["4", " 5.0 ", "3.9", ""], [4.0, 5.0, 3.9, None]):
        assert AtLeast("rating", 4)(rated(values))["item_id"].to_list() == [0, 1]
    assert OneOf("event", ["buy"])(rated([1, 2, 3, 4]))["item_id"].to_list() == [0, 2]
    assert OneOf("event", ["buy", "view"])(rated([1, 2, 3, 4]))["item_id"].to_list() == [0, 1, 2]
    assert OneOf("rating", [4])(rated(["4", "44", "5", "4 "]))["item_id"].to_list() == [0, 3]
    assert (AtLeast("rating", 4).columns, OneOf(3, ["a"]).columns, KCore().columns) == (("rating",), ("3",), ())


def test_values_that_cannot_be_compared_are_named() -> None:
    with pytest.raises(DataError, match=r"rating is 'good' in 1 of 2 rows, wanted numbers; .*OneOf"):
        AtLeast("rating", 4)(rated(["4", "good"]))
    with pytest.raises(SettingError, match=r"OneOf.values is 'buy', wanted a list"):
        OneOf("event", "buy")


def test_duplicates_are_equal_in_user_item_and_time() -> None:
    rows = [(1, 1, 5), (1, 1, 6), (1, 1, 5), (1, 2, 5), (2, 1, 5), (1, 1, 6)]
    assert DropDuplicates()(table(rows)).rows() == [rows[0], rows[1], rows[3], rows[4]]
