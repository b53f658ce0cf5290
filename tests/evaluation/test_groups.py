from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from sage_pl.artifacts.store import Artifact
from sage_pl.data.sequences import Cases, Sequences
from sage_pl.evaluation.groups import BASIC, FACTS, FAMILIES, LENGTH, POPULARITY, Groups, days, distinct_users, members

from .conftest import MakeSequences


def test_groups_of_the_test_cases(sequences: Sequences) -> None:
    groups = Groups(sequences, sequences.test, ts_user=3)
    assert {name: groups[name].tolist() for name in BASIC} == {
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
    for name in ("item_head", "item_tail", "user_short", "user_long"):
        assert 0 < groups[name].sum() < len(cases)
    assert groups.n_cases == len(cases)
    for title in ("training events of the answer", "events before the answer", "users by items"):
        assert np.array_equal(sum(groups[name].astype(int) for name in FAMILIES[title]), np.ones(len(cases))), title


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


@pytest.mark.parametrize(
    ("events", "popularity", "length"),
    [
        (0, "item_unseen", None),
        (1, "item_1-4", "user_1-4"),
        (4, "item_1-4", "user_1-4"),
        (5, "item_5-9", "user_5-9"),
        (10, "item_10-19", "user_10-14"),
        (14, "item_10-19", "user_10-14"),
        (15, "item_10-19", "user_15-19"),
        (20, "item_20-39", "user_20+"),
        (39, "item_20-39", "user_20+"),
        (40, "item_40+", "user_20+"),
    ],
)
def test_borders_of_the_bands(events: int, popularity: str, length: str | None) -> None:
    given: dict[str, Any] = {name: [False] for name in FACTS} | {"train_count": [events], "history": [events]}
    found = {name for name, group in members(pl.DataFrame(given)).items() if group[0]}
    bands = {f"item_{band}" for band in POPULARITY} | {f"user_{band}" for band in LENGTH} | {"item_unseen"}
    assert found & bands == {popularity, length} - {None}


def test_facts_by_hand(sequences: Sequences) -> None:
    facts = Groups(sequences, sequences.test, ts_user=4).facts
    assert facts.columns == list(FACTS)
    assert facts.rows() == [
        (0, 1, 5, False, None, False, False),  # item 5: never trained on, one user
        (3, 3, 3, True, None, True, True),  # item 1, which its user had before
        (1, 3, 2, False, None, False, True),  # item 3
    ]


def test_groups_follow_from_the_facts_alone(random_sequences: Sequences) -> None:
    groups = Groups(random_sequences, random_sequences.test, ts_user=6)
    again = members(groups.facts)
    assert again.keys() == groups.keys()
    assert all(np.array_equal(again[name], groups[name]) for name in again)
    assert "day_own" not in groups
    assert {name for names in FAMILIES.values() for name in names} - groups.keys() == {"day_own", "day_shared"}


def test_cells_and_repeats_equal_naive(random_sequences: Sequences) -> None:
    data = random_sequences
    groups = Groups(data, data.test, ts_user=6)
    for row, (user, at, answer) in enumerate(zip(data.test.user, data.test.at, data.test.answer, strict=True)):
        history = data.values[data.offsets[user] :][:at].tolist()
        assert groups["answer_repeat"][row] == (answer in history) != groups["answer_new"][row]
        short, head = len(history) < 6, groups["item_head"][row]
        cells = [groups[f"user_{u}_item_{i}"][row] for u in ("short", "long") for i in ("head", "tail")]
        assert cells == [short and head, short and not head, not short and head, not short and not head]


def test_a_day_of_its_own(make_sequences: MakeSequences) -> None:
    data = make_sequences([[1, 2, 3], [1, 2, 3], [1, 2, 3], [1, 2, 3]], 3)
    by_event = np.array([1, 2, 3, 1, 3, 3, 1, -1, 3, 1, 2, -1])
    groups = Groups(data, data.test, ts_user=1, days=by_event)
    assert groups.facts["own_day"].to_list() == [True, False, None, None]
    assert groups["day_own"].tolist() == [True, False, False, False]
    assert groups["day_shared"].tolist() == [False, True, False, False]
    valid = Groups(data, data.valid, ts_user=1, days=by_event)  # the event after counts as well
    assert valid.facts["own_day"].to_list() == [True, False, None, None]


def test_a_first_event_has_nothing_before_it(make_sequences: MakeSequences) -> None:
    data = make_sequences([[1, 2, 3], [1, 2, 3]], 3)
    first = Cases(np.array([1, 2]), np.array([0, 0]), np.array([1, 1]))
    days = np.array([1, 2, 3, 3, 3, 4])  # the first user's last day is the second's first
    assert Groups(data, first, ts_user=1, days=days).facts["own_day"].to_list() == [True, False]


@pytest.mark.parametrize(
    ("arrays", "wanted"),
    [
        ({"times": [0, 1, 2]}, None),
        ({"times": [1_500_000_000, 1_500_086_400]}, [17361, 17362]),
        ({"times": [0, 1], "clock": [1_500_000_000, -1]}, [17361, -1]),
        ({"times": [0, 1], "clock": [-1, -1]}, None),
    ],
    ids=["positions", "seconds", "clock beside positions", "no clock known"],
)
def test_days_of_an_artifact(tmp_path: Path, arrays: dict[str, list[int]], wanted: list[int] | None) -> None:
    for name, values in arrays.items():
        np.save(tmp_path / f"{name}.npy", np.array(values))
    found = days(Artifact("key", tmp_path, {}))
    assert (None if found is None else found.tolist()) == wanted


def test_tail_items_are_those_of_tail_answers(random_sequences: Sequences) -> None:
    groups = Groups(random_sequences, random_sequences.test, ts_user=6)
    assert np.array_equal(groups.tail_items[random_sequences.test.answer], groups["item_tail"])
