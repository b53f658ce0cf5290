from itertools import permutations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sage_pl.semantic.tokenizer.collisions import group_sizes, matched, occurrence, suffixed
from sage_pl.semantic.tokenizer.residual import residual_codes, squared_distances

LINE = np.array([[0.0], [1.0], [2.0]])  # the last level's codes, on a line


def test_groups_by_hand() -> None:
    codes = np.array([[1, 2], [1, 3], [1, 2], [0, 2], [1, 2]])
    assert group_sizes(codes).tolist() == [3, 1, 3, 1, 3]
    assert occurrence(codes).tolist() == [0, 0, 1, 0, 2]
    assert suffixed(codes).tolist() == [[1, 2, 0], [1, 3, 0], [1, 2, 1], [0, 2, 0], [1, 2, 2]]


def test_nothing_shared_needs_no_suffix() -> None:
    codes = np.array([[1, 2], [1, 3]])
    assert suffixed(codes).tolist() == codes.tolist()
    assert matched(codes, np.zeros((2, 1)), LINE).tolist() == codes.tolist()


def test_the_nearer_of_two_stays_and_the_other_takes_the_nearest_free_code() -> None:
    codes = np.array([[0, 0], [0, 0], [7, 0]])  # the third has another prefix
    residuals = np.array([[0.1], [0.4], [0.4]])
    assert matched(codes, residuals, LINE).tolist() == [[0, 0], [0, 1], [7, 0]]
    assert matched(codes, residuals[[1, 0, 2]], LINE).tolist() == [[0, 1], [0, 0], [7, 0]]


def test_an_item_alone_on_its_string_stays_even_where_moving_it_would_be_cheaper() -> None:
    """Both at 0 are nearest to 1 next, where a lone item sits that would hardly mind 2; yet it is the duplicate that moves."""
    codes = np.array([[0, 0], [0, 0], [0, 1]])
    residuals = np.array([[0.0], [0.49], [1.49]])
    assert matched(codes, residuals, LINE).tolist() == [[0, 0], [0, 2], [0, 1]]


def test_a_group_beyond_the_codes_gets_the_smallest_suffix_there_can_be() -> None:
    codes = np.array([[0, 0]] * 5 + [[0, 1]] * 2 + [[1, 2]])
    found = matched(codes, np.zeros((8, 1)), LINE)
    assert found.shape == (8, 3)
    assert (group_sizes(found) == 1).all()
    assert np.bincount(found[:7, 2]).tolist() == [3, 3, 1]  # 7 items on 3 codes: three parts
    assert found[7].tolist() == [1, 2, 0]


def test_first_on_their_string_come_first() -> None:
    """Of four items on three codes only one needs the suffix, and none has to move."""
    codes = np.array([[0, 0], [0, 0], [0, 1], [0, 2]])
    assert matched(codes, np.zeros((4, 1)), LINE).tolist() == [[0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 2, 0]]


def brute_force(own: np.ndarray, distances: np.ndarray) -> tuple[int, float]:
    """Fewest moves, and among those the least sum of distances, of any assignment to different codes."""
    rows = np.arange(len(own))
    return min(
        (int((np.array(choice) != own).sum()), float(distances[rows, choice].sum()))
        for choice in permutations(range(distances.shape[1]), len(own))
    )


@settings(max_examples=40)
@given(st.lists(st.integers(0, 4), min_size=2, max_size=5), st.integers(0, 2**32 - 1))
def test_no_assignment_moves_fewer_or_nearer(own, seed) -> None:
    generator = np.random.default_rng(seed)
    residuals, book = generator.normal(size=(len(own), 3)), generator.normal(size=(5, 3))
    codes = np.column_stack([np.zeros(len(own), dtype=int), own])
    distances, found = squared_distances(residuals, book), matched(codes, residuals, book)[:, -1]
    moves, cost = brute_force(np.array(own), distances)
    assert (found != own).sum() == moves
    assert distances[np.arange(len(own)), found].sum() == pytest.approx(cost)


@settings(max_examples=40)
@given(st.integers(1, 120), st.integers(1, 3), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_any_codes_become_unique_and_keep_their_prefix(n, levels, size, seed) -> None:
    generator = np.random.default_rng(seed)
    books = generator.normal(size=(levels, size, 2))
    codes, residuals = residual_codes(generator.normal(size=(n, 2)), books)
    found = matched(codes, residuals, books[-1])
    assert (group_sizes(found) == 1).all()
    assert (found[:, : levels - 1] == codes[:, :-1]).all()
    assert found.min() >= 0
    assert found[:, levels - 1].max() < size
    lone = group_sizes(codes) == 1
    largest = group_sizes(codes[:, :-1]).max() if lone.size - lone.sum() else 0
    if largest <= size:  # feasible: no suffix, and as many move as there are duplicates
        assert found.shape == codes.shape
        assert (found[lone] == codes[lone]).all()
        assert (found != codes).any(axis=1).sum() == n - len(np.unique(codes, axis=0))


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_the_order_of_items_does_not_matter(seed) -> None:
    generator = np.random.default_rng(seed)
    books, order = generator.normal(size=(2, 16, 3)), generator.permutation(60)
    codes, residuals = residual_codes(generator.normal(size=(60, 3)), books)
    there = matched(codes, residuals, books[-1])
    again = matched(codes[order], residuals[order], books[-1])
    assume(there.shape[1] == 2)
    assert (there[order] == again).all()
