"""Small hand-made sequences for the tests of the evaluation."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from sage_pl.data.sequences import Cases, Sequences

MakeSequences = Callable[..., Sequences]


def leave_one_out(users: Sequence[Sequence[int]], n_items: int) -> Sequences:
    """Users 1.. with at least three items each: the last is the test case, the one before it the validation case."""
    lengths = np.array([0, *map(len, users)])
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    values = np.array([item for items in users for item in items], dtype=np.int32)
    ids = np.arange(1, len(users) + 1)

    def cases(back: int) -> Cases:
        at = lengths[1:] - back
        return Cases(ids, at, values[offsets[ids] + at])

    return Sequences(values, offsets, np.maximum(lengths - 2, 0), cases(2), cases(1), n_items)


@pytest.fixture
def make_sequences() -> MakeSequences:
    return leave_one_out


@pytest.fixture
def sequences() -> Sequences:
    """Ten items with training counts 3 2 1 1 0 0 0 0 0 0; test answers 5, 1 (a repeat) and 3."""
    return leave_one_out([[1, 2, 3, 4, 1, 5], [1, 2, 3, 1], [1, 2, 3]], 10)


@pytest.fixture
def random_sequences() -> Sequences:
    """40 users, 60 items of skewed popularity, with repeats."""
    generator = np.random.default_rng(0)
    users = [(1 + (60 * generator.random(generator.integers(3, 15)) ** 2).astype(int)).tolist() for _ in range(40)]
    return leave_one_out(users, 60)
