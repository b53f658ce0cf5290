import numpy as np
import pytest

from sage_pl.semantic.tokenizer import report
from sage_pl.semantic.tokenizer.report import collisions, item_groups, preservation, relative_error, usage


def test_groups_by_hand() -> None:
    """Five items were trained on, one of them is the top fifth, and its tie is head too."""
    groups = item_groups(np.array([9, 0, 9, 1, 2, 3, 0]))
    assert groups["head"].tolist() == [True, False, True, False, False, False, False]
    assert (groups["tail"] == ~groups["head"]).all()
    assert np.flatnonzero(groups["unseen"]).tolist() == [1, 6]
    assert groups["all"].all()
    assert not item_groups(np.zeros(3, dtype=int))["head"].any()


def test_usage_by_hand() -> None:
    codes = np.array([[0, 0], [0, 1], [3, 2], [3, 3]])
    assert usage(codes, [8, 4]) == [
        {"codes": 8, "used": 2, "perplexity": pytest.approx(2.0)},
        {"codes": 4, "used": 4, "perplexity": pytest.approx(4.0)},
    ]


def test_collisions_by_hand() -> None:
    codes = np.array([[0, 0], [0, 0], [0, 0], [1, 1], [2, 2]])  # three strings for five items
    assert collisions(codes) == {"items": 3, "duplicates": pytest.approx(1 - 3 / 5), "largest": 3}


def test_relative_error_by_hand() -> None:
    latent = np.array([[0.0], [2.0], [4.0]])  # variance 8 / 3
    quantised = np.array([[1.0], [2.0], [2.0]])
    groups = {"all": np.ones(3, bool), "head": np.array([True, False, False]), "unseen": np.zeros(3, bool)}
    found = relative_error(latent, quantised, groups)
    assert found == {"all": pytest.approx(5 / 8), "head": pytest.approx(3 / 8), "unseen": None}


@pytest.fixture
def planted() -> tuple[np.ndarray, np.ndarray]:
    """Four kinds of 20 items, each of two halves, and codes that name kind, half and item."""
    number = np.arange(80)
    kind, half = number // 20, number // 10 % 2
    rows = np.hstack([np.eye(4)[kind], 0.3 * np.eye(8)[2 * kind + half], 1e-3 * np.eye(80)])
    return rows / np.linalg.norm(rows, axis=1, keepdims=True), np.column_stack([kind, half, number % 10])


def test_preservation_by_hand(planted) -> None:
    """Of the ten nearest, nine are of one's own half and one of the other."""
    rows, codes = planted
    found = preservation(rows, codes, {"all": np.ones(80, bool), "none": np.zeros(80, bool)})
    assert found["all"] == [1.0, pytest.approx(0.9)]
    assert found["none"] == [None, None]
    assert found["chance"] == [pytest.approx(19 / 79), pytest.approx(9 / 79)]


def test_shuffled_codes_preserve_no_more_than_chance(planted, rng) -> None:
    rows, codes = planted
    found = preservation(rows, codes[rng.permutation(80)], {"all": np.ones(80, bool)})
    assert found["all"][0] == pytest.approx(found["chance"][0], abs=0.06)


def test_items_without_a_vector_are_nobodys_neighbours(planted) -> None:
    rows, codes = planted
    rows[:20] = 0
    codes[:20] = -7
    found = preservation(rows, codes, {"all": np.ones(80, bool), "blank": np.arange(80) < 20})
    assert found["all"][0] == 1
    assert found["blank"] == [None, None]
    assert found["chance"][0] == pytest.approx(19 / 59)


def test_a_sample_is_enough(planted, monkeypatch) -> None:
    rows, codes = planted
    monkeypatch.setattr(report, "SAMPLE", 30)
    assert preservation(rows, codes, {"all": np.ones(80, bool)})["all"] == [1.0, pytest.approx(0.9)]


@pytest.mark.parametrize("n", [2, 3])
def test_few_items_have_few_neighbours(n) -> None:
    found = preservation(np.eye(n), np.zeros((n, 1), dtype=int), {"all": np.ones(n, bool)})
    assert found == {"all": [1.0], "chance": [1.0]}
