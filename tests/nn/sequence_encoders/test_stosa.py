"""STOSA against plain loops, and as a causal sequence encoder."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sage_pl.nn.sequence_encoders.stosa import Block, StochasticAttention, squared_distances
from tests.golden import naive
from tests.golden.prepared import normal

LENGTH, DIM = 5, 8


@pytest.fixture(params=[True, False])
def encoder(request: pytest.FixtureRequest) -> StochasticAttention:
    torch.manual_seed(0)
    encoder = StochasticAttention(DIM, 20, layers=2, heads=2, dropout=0.5, update_mean=request.param).double().eval()
    for position in (encoder.position_mean, encoder.position_covariance):
        position.weight.data[1:] *= 20
    return encoder


def given(n: int = 0, content: float = 0.0, rows: int = 3) -> tuple[dict[str, Tensor], Tensor, Any]:
    mask = torch.ones(rows, n + LENGTH, dtype=torch.bool)
    mask[:, :n] = False
    front = torch.full((rows, n, DIM), content).double()
    views = {
        name: torch.cat([front, normal(rows, LENGTH, DIM, seed=seed)], 1)
        for name, seed in (("mean", 0), ("covariance", 1))
    }
    return views, mask, {}


def elu1(x: Tensor) -> Tensor:
    return torch.where(x > 0, x + 1, x.exp())


def block_by_loops(block: Any, mean: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
    """One block over one sequence [L, D]."""
    q, k, v = naive.linear(block.of_mean, mean).chunk(3, dim=-1)
    qc, kc, vc = elu1(naive.linear(block.of_covariance, covariance)).chunk(3, dim=-1)
    width = DIM // block.heads
    mixed, mixed_covariance = torch.zeros_like(mean), torch.zeros_like(mean)
    for h in range(block.heads):
        part = slice(h * width, (h + 1) * width)
        for i in range(len(mean)):
            distances = [
                (q[i, part] - k[j, part]).square().sum() + (qc[i, part].sqrt() - kc[j, part].sqrt()).square().sum()
                for j in range(i + 1)
            ]
            weights = (-torch.stack(distances) / width**0.5).softmax(0)
            mixed[i, part] = sum(w * v[j, part] for j, w in enumerate(weights))
            mixed_covariance[i, part] = sum(w**2 * vc[j, part] for j, w in enumerate(weights))

    def feed(layers: Any, x: Tensor) -> Tensor:
        return naive.linear(layers[2], F.elu(naive.linear(layers[0], x)))

    mean = naive.layer_norm(block.norm_attention, mean + naive.linear(block.out_mean, mixed))
    covariance = naive.layer_norm(
        block.norm_attention, covariance + naive.linear(block.out_covariance, mixed_covariance)
    )
    mean = naive.layer_norm(block.norm, mean + feed(block.feed_mean, mean))
    return mean, elu1(naive.layer_norm(block.norm, covariance + feed(block.feed_covariance, covariance)))


@torch.no_grad()
def test_equals_plain_loops(encoder: StochasticAttention) -> None:
    views, mask, batch = given(2)
    states = encoder(views, mask, batch)
    for row in range(3):
        means, covariances = (views[name][row, 2:] for name in ("mean", "covariance"))
        mean = F.elu(naive.layer_norm(encoder.norm, means + encoder.position_mean.weight[1 : LENGTH + 1]))
        covariance = elu1(
            naive.layer_norm(encoder.norm, covariances + encoder.position_covariance.weight[1 : LENGTH + 1])
        )
        for block in encoder.blocks:
            updated, covariance = block_by_loops(block, mean, covariance)
            mean = updated if encoder.update_mean else mean
        vector = torch.cat([mean, covariance.sqrt()], 1)
        expected = torch.cat([2 * vector, -torch.ones(LENGTH, 1), -vector.square().sum(1, keepdim=True)], 1)
        torch.testing.assert_close(states[row, 2:], expected, atol=1e-10, rtol=0)


def test_the_published_means_are_those_of_the_last_item_alone(encoder: StochasticAttention) -> None:
    """Which the misspelt variable of its code amounts to; with the update, an earlier item moves them."""
    views, mask, batch = given()
    before = encoder(views, mask, batch, last_only=True)
    views = {name: view.clone() for name, view in views.items()}
    views["mean"][:, 0] += torch.arange(DIM)
    moved = (encoder(views, mask, batch, last_only=True) - before).abs()[:, 0] > 1e-9
    assert moved[:, :DIM].any().item() == encoder.update_mean
    views["covariance"][:, 0] += torch.arange(DIM)
    assert (encoder(views, mask, batch, last_only=True) - before)[:, 0, DIM : 2 * DIM].abs().max() > 1e-9


def test_a_state_depends_on_its_past_alone(encoder: StochasticAttention) -> None:
    views, mask, batch = given()
    before = encoder(views, mask, batch)
    for view in views.values():
        view[:, 3] += torch.arange(DIM)
    differs = (encoder(views, mask, batch) - before).abs().amax(-1) > 1e-9
    assert differs[:, 3:].all()
    assert not differs[:, :3].any()


def test_padding_and_other_users_change_nothing(encoder: StochasticAttention) -> None:
    plain = encoder(*given())
    for n, content in ((1, 0.0), (4, 100.0)):
        states = encoder(*given(n, content))
        torch.testing.assert_close(states[:, n:], plain, atol=1e-10, rtol=0)
        assert not states[:, :n].any()
    views, mask, batch = given()
    alone = encoder({name: view[:1] for name, view in views.items()}, mask[:1], batch)
    torch.testing.assert_close(alone[0], plain[0], atol=1e-10, rtol=0)
    torch.testing.assert_close(encoder(*given(2), last_only=True), encoder(*given(2))[:, -1:], atol=1e-12, rtol=0)


def test_gradients_reach_every_part_and_none_comes_from_padding() -> None:
    encoder = StochasticAttention(DIM, 20, layers=2, heads=2, dropout=0.1).double()
    views, mask, batch = given(2)
    mask[1] = False
    views = {name: view.requires_grad_() for name, view in views.items()}
    encoder(views, mask, batch).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.any() for p in encoder.parameters())
    for view in views.values():
        assert view.grad is not None
        assert not view.grad[1].any()
        assert not view.grad[:, :2].any()


def test_distances_by_hand() -> None:
    query, key = torch.tensor([[0.0, 3.0]]), torch.tensor([[0.0, 3.0], [4.0, 0.0]])
    assert squared_distances(query, key).tolist() == [[0, 25]]


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(ValueError, match="heads is 3, wanted a divisor of dim, which is 8"):
        Block(DIM, 3, 0.0, 0.0)
