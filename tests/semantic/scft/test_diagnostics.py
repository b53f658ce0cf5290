import math

import pytest
import torch

from sage_pl.semantic.scft.diagnostics import describe_vectors

SQUARE = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0], [0.0, -1.0]])


def test_numbers_by_hand() -> None:
    """Of the square's 12 ordered pairs 8 are at a right angle and 4 opposite; two of the second views are exchanged."""
    found = describe_vectors(SQUARE, SQUARE[[0, 1, 3, 2]])
    assert found["top1"] == 0.5
    assert found["cosine"] == pytest.approx((8 * 0 + 4 * -1) / 12)
    expected = math.log((8 * math.exp(-2 * 2) + 4 * math.exp(-2 * 4)) / 12)
    assert found["uniformity"] == pytest.approx(expected, abs=1e-6)


def test_equal_vectors_are_the_worst_case() -> None:
    found = describe_vectors(torch.ones(4, 3), torch.ones(4, 3))
    assert found["cosine"] == pytest.approx(1)
    assert found["uniformity"] == pytest.approx(0, abs=1e-5)


def test_lengths_do_not_matter() -> None:
    lengths = torch.tensor([[1.0], [5.0], [0.1], [2.0]])
    assert describe_vectors(SQUARE * lengths, SQUARE) == pytest.approx(describe_vectors(SQUARE, SQUARE))


def test_one_item_alone_is_refused() -> None:
    with pytest.raises(ValueError, match="got 1, wanted at least 2"):
        describe_vectors(torch.ones(1, 3), torch.ones(1, 3))
