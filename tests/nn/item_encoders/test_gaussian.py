"""Normal distributions as items: their distance is one inner product."""

import pytest
import torch

from sage_pl.nn.item_encoders.encoded import EncodedItems
from sage_pl.nn.item_encoders.gaussian import GaussianItems, deviations, positive, state_of
from tests.golden.prepared import normal

N, DIM = 6, 3


@pytest.fixture
def items() -> GaussianItems:
    items = GaussianItems(N, DIM).double()
    items.mean.weight.data[1:] = normal(N + 1, DIM, seed=1)
    items.covariance.weight.data[1:] = normal(N + 1, DIM, seed=2)
    return items


def test_a_score_is_the_negative_squared_wasserstein_distance(items: GaussianItems) -> None:
    mean, covariance = normal(2, DIM, seed=3), normal(2, DIM, seed=4).exp()
    scores = state_of(mean, covariance) @ items.output(items.views(torch.arange(1, N + 1))).T
    for u in range(2):
        for i in range(N):
            spread = items.covariance.weight[i + 1]
            item = torch.where(spread > 0, spread + 1, spread.exp())  # elu(c) + 1
            distance = sum(
                (mean[u, d] - items.mean.weight[i + 1, d]) ** 2 + (covariance[u, d].sqrt() - item[d].sqrt()) ** 2
                for d in range(DIM)
            )
            torch.testing.assert_close(scores[u, i], -distance, atol=1e-12, rtol=0)


def test_one_number_by_hand() -> None:
    """N(1, 4) and an item N(3, 1): (1 - 3)² + (2 - 1)² = 5."""
    items = GaussianItems(1, 1)
    items.mean.weight.data[1], items.covariance.weight.data[1] = 3.0, 0.0
    vector = items.output(items.views(torch.tensor([1])))[0]
    assert vector.tolist() == [3, 1, 10, 1]
    state = state_of(torch.tensor([1.0]), torch.tensor([4.0]))
    assert state.tolist() == [2, 4, -1, -5]
    assert (state @ vector).item() == -5


def test_the_nearest_item_is_the_one_of_the_same_distribution(items: GaussianItems) -> None:
    ids = torch.arange(1, N + 1)
    views = items.views(ids)
    states = state_of(views["mean"], positive(views["covariance"]))
    scores = states @ items.output(views).T
    assert scores.argmax(1).tolist() == list(range(N))
    torch.testing.assert_close(scores.diagonal(), torch.zeros(N).double(), atol=1e-12, rtol=0)
    pairs = torch.cdist(deviations(views), deviations(views)).square()
    torch.testing.assert_close(scores, -pairs, atol=1e-9, rtol=0)


def test_shapes_and_the_start() -> None:
    torch.manual_seed(0)
    items = GaussianItems(500, 8)
    assert (items.output_dim, dict(items.input_dims)) == (18, {"mean": 8, "covariance": 8})
    encoded = EncodedItems(items, None, torch.device("cpu"))
    assert encoded.outputs(torch.zeros(2, 3, dtype=torch.long)).shape == (2, 3, 18)
    for table in (items.mean.weight, items.covariance.weight):
        assert table[1:].std().item() == pytest.approx(0.02, rel=0.1)
        assert not table[0].any()


def test_a_covariance_that_rounds_to_zero_has_a_finite_gradient() -> None:
    items = GaussianItems(1, 2)
    items.covariance.weight.data[1] = torch.tensor([-200.0, -1.0])
    items.output(items.views(torch.tensor([1]))).sum().backward()
    assert items.covariance.weight.grad is not None
    assert items.covariance.weight.grad.isfinite().all()
