from typing import Any

import pytest
import torch

from sage_pl.nn.item_encoders.encoded import EncodedItems
from sage_pl.nn.item_encoders.gaussian import GaussianItems, state_of
from sage_pl.nn.losses.distance_margin import DistanceMargin
from tests.golden.prepared import context, draw


def test_three_positions_by_hand() -> None:
    """Items N(0, 1), N(1, 1), N(5, 1) in one dimension; a user N(3, 1) for all of them."""
    items = GaussianItems(3, 1)
    items.mean.weight.data[1:4, 0] = torch.tensor([0.0, 1.0, 5.0])
    items.covariance.weight.data.zero_()
    state = state_of(torch.tensor([3.0]), torch.tensor([1.0])).expand(1, 3, -1)
    batch: Any = {"targets": torch.tensor([[1, 2, 3]]), "labels": torch.arange(3)}
    term = DistanceMargin(0.005, 3)
    term.name = "margin"
    batch["draws"] = {"margin": torch.tensor([[2, 3, 3]])}
    step: Any = context(batch=batch, hidden=state, items=EncodedItems(items, None, torch.device("cpu")))
    # (3 - 0)² - (0 - 1)² = 8; (3 - 1)² - (1 - 5)² < 0; the last negative is the target
    assert term(step).item() == pytest.approx(8 / 3)


def test_negatives_are_drawn_over_all_items() -> None:
    term, batch = DistanceMargin(0.005, 5), {"targets": torch.ones(50, 4, dtype=torch.long)}
    drawn = draw(term, batch)  # type: ignore[arg-type]
    assert set(drawn.flatten().tolist()) == {1, 2, 3, 4, 5}
    assert all(map(torch.equal, term.item_ids(batch), (batch["targets"], drawn)))  # type: ignore[arg-type]
