from typing import Any

import numpy as np
import pytest

from sage_pl.data.sequences import Sequences
from sage_pl.evaluation.groups import Groups, distinct_users

from .conftest import MakeSequences


def test_groups_of_the_test_cases(sequences: Sequences) -> None:
    groups = Groups(sequences, sequences.test, ts_user=3)
    assert {name: members.tolist() for name, members in groups.items()} == {
        "item_head": [False, True, False],  # of four counted items one is head: item 1
        "item_tail": [True, False, True],
        "item_unseen": [True, False, False],
        "user_short": [False, False, True],
        "user_long": [True, True, False],
    }


@pytest.mark.parametrize(
    ("ts_item", "count", "tail"),
    [
        pytest.param(1, "train", [True, False, False], id="train 1"),
        pytest.param(3, "train", [True, False, True], id="train 3"),
        pytest.param(1, "all_users", [False, False, False], id="all users 1"),
        pytest.param(3, "all_users", [True, False, False], id="all users 3"),
        pytest.param(4, "all_users", [True, True, True], id="repeats count once"),
    ],
)
def test_ts_item_rule(sequences: Sequences, ts_item: int, count: Any, tail: list[bool]) -> None:
    groups = Groups(sequences, sequences.test, ts_user=3, item_rule="ts_item", ts_item=ts_item, count=count)
    assert groups["item_tail"].tolist() == tail


def test_distinct_users_equal_naive(random_sequences: Sequences) -> None:
    data = random_sequences
    users = [set(data.values[data.offsets[u] : data.offsets[u + 1]].tolist()) for u in range(1, data.n_users + 1)]
    assert distinct_users(data).tolist() == [sum(item in user for user in users) for item in range(data.n_items + 2)]


def test_items_that_tie_with_the_last_head_item_are_head(make_sequences: MakeSequences) -> None:
    data = make_sequences([[1, 1, 2, 2, 3, 3, 4, 5, 6, 7, 1, 3]], 10)  # seven counted items, three of count 2
    groups = Groups(data, data.test, ts_user=1)
    assert groups["item_head"].tolist() == [True]


@pytest.mark.parametrize("split", ["valid", "test"])
def test_groups_are_partitions(random_sequences: Sequences, split: str) -> None:
    cases = getattr(random_sequences, split)
    groups = Groups(random_sequences, cases, ts_user=6)
    assert (groups["item_head"] ^ groups["item_tail"]).all()
    assert (groups["user_short"] ^ groups["user_long"]).all()
    assert not (groups["item_unseen"] & groups["item_head"]).any()
    assert all(0 < members.sum() < len(cases) for name, members in groups.items() if name != "item_unseen")
    assert groups.n_cases == len(cases)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        pytest.param({"item_rule": "top10"}, "item_rule is 'top10'; choose from top20, ts_item", id="rule"),
        pytest.param({"count": "test"}, "count is 'test'; choose from train, all_users", id="count"),
        pytest.param({"item_rule": "ts_item"}, "needs ts_item of at least 1", id="threshold missing"),
        pytest.param({"ts_user": 0}, "ts_user is 0", id="user threshold"),
    ],
)
def test_refuses_bad_arguments(sequences: Sequences, wrong: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"ts_user": 3} | wrong
    with pytest.raises(ValueError, match=message):
        Groups(sequences, sequences.test, **arguments)


def test_refuses_an_empty_training_part(make_sequences: MakeSequences) -> None:
    data = make_sequences([[1, 2]], 2)
    with pytest.raises(ValueError, match="training part is empty"):
        Groups(data, data.test, ts_user=1)
    assert np.array_equal(data.train_counts, [0, 0, 0, 0])
