"""Figures of item vectors, by hand and against loops."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sage_pl.data.sequences import Cases, Sequences
from sage_pl.report.blocks import MissingError
from sage_pl.report.vectors import purity, sample, singular_values, spread

NONE = Cases(np.zeros(0, int), np.zeros(0, int), np.zeros(0, int))


def sequences(*histories: list[int], n_items: int) -> Sequences:
    lengths = [0, *map(len, histories)]
    values = np.array([item for history in histories for item in history])
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return Sequences(values, offsets, np.array(lengths), NONE, NONE, n_items)


def test_spread_by_hand() -> None:
    table = np.array([[0, 0], [2, 0], [0, 3], [5, 0], [0, 0]], float)  # items 1 and 3 point alike, 2 across
    data = sequences([1, 2, 3], [3, 1], n_items=3)  # pairs 1-2, 2-3, 3-1; none from 3 to the next user's 3
    found = spread(table, np.array([1, 3]), data)
    assert found.alignment == pytest.approx(0)  # the one pair within is 3-1
    assert found.uniformity == pytest.approx(0)
    assert found.cosine == pytest.approx(1)
    everyone = spread(table, np.array([1, 2, 3]), data)
    assert everyone.alignment == pytest.approx((2 + 2 + 0) / 3)
    alike = (everyone.cosine - 0) / 1  # cosine is 1 for the pair 1-3 and 0 otherwise
    assert alike == pytest.approx(1 / 3, abs=0.02)
    assert everyone.uniformity == pytest.approx(math.log(alike + (1 - alike) * math.exp(-4)))


def test_spread_needs_pairs() -> None:
    data = sequences([1, 2], n_items=4)
    with pytest.raises(MissingError, match="too few"):
        spread(np.eye(6), np.array([3, 4]), data)


def test_singular_values_are_shares_of_the_largest_of_real_items() -> None:
    table = np.array([[50, 50], [0, 3], [0, 0], [1, 0], [-70, -70]], np.float32)
    assert singular_values(table) == pytest.approx([1, 1 / 3])
    assert singular_values(np.zeros((5, 2), np.float32)).tolist() == [0, 0]


def test_purity_is_that_of_a_loop() -> None:
    generator = np.random.default_rng(1)
    table = generator.normal(size=(62, 5))
    labels = np.concatenate([[-2], generator.integers(-1, 4, 60), [-2]])
    ids = np.flatnonzero(labels >= 0)[:40]
    unit = table / np.linalg.norm(table, axis=1, keepdims=True)
    naive = []
    for i in ids:
        others = [j for j in np.flatnonzero(labels >= 0) if j != i]
        nearest = sorted(others, key=lambda j: -float(unit[i] @ unit[j]))[:7]
        naive.append(np.mean([labels[j] == labels[i] for j in nearest]))
    assert purity(table, labels, ids, 7) == pytest.approx(np.array(naive))


def test_a_sample_is_in_order_and_repeatable() -> None:
    ids = np.arange(1, 100)
    drawn = sample(ids, 10, 3)
    assert len(set(drawn)) == 10
    assert (np.diff(drawn) > 0).all()
    assert (drawn == sample(ids, 10, 3)).all()
    assert sample(ids, 200, 3) is ids
