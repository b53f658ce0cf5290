"""What holds for every backbone: causality, and padding that never shows."""

from typing import Any

import pytest
import torch
from torch import Tensor

from sage_pl.nn.backbones.gru4rec import GRU4Rec
from sage_pl.nn.backbones.sasrec import SASRec
from tests.golden import naive
from tests.golden.prepared import BACKBONES, leaf, make_backbone, normal

LENGTH, DIM = 5, 8


@pytest.fixture(params=[*BACKBONES, "sasrec pre", "sasrec post", "bert4rec pre", "bert4rec post"])
def backbone(request: pytest.FixtureRequest) -> Any:
    name, *norm = request.param.split()
    return make_backbone(name, DIM, 12, 0.5, *norm).eval()


def run(backbone: Any, x: Tensor, mask: Tensor) -> Tensor:
    return backbone(backbone.embed(x, mask), mask)


def padded(x: Tensor, n: int, content: float | Tensor = 0.0) -> tuple[Tensor, Tensor]:
    """x with n padding positions in front, and its mask."""
    front = x.new_zeros(len(x), n, x.shape[2]) + content
    mask = torch.ones(len(x), n + x.shape[1], dtype=torch.bool)
    mask[:, :n] = False
    return torch.cat([front, x], 1), mask


@pytest.fixture
def x() -> Tensor:
    return normal(2, LENGTH, DIM)


def test_equals_a_plain_loop_over_positions(backbone: Any, x: Tensor) -> None:
    result = run(backbone, *padded(x, 2))
    for row, ours in zip(x, result, strict=True):
        expected = naive.run_backbone(backbone, naive.embed(backbone, row))
        torch.testing.assert_close(ours[2:], expected, atol=1e-12, rtol=0)


def test_a_causal_state_depends_on_its_past_alone(backbone: Any, x: Tensor) -> None:
    changed = x.clone()
    changed[:, 3, 0] += 1
    before, after = (run(backbone, *padded(v, 0)) for v in (x, changed))
    differs = (before - after).abs().amax(-1) > 1e-9
    assert differs[:, 3:].all()
    assert differs[:, :3].all() if not backbone.causal else not differs[:, :3].any()
    if backbone.causal:
        assert torch.equal(before[:, :3], after[:, :3])


def test_which_backbones_are_causal() -> None:
    assert {name: make_backbone(name).causal for name in BACKBONES} == {
        "sasrec": True,
        "bert4rec": False,
        "gru4rec": True,
    }


def test_sasrec_sees_both_sides_where_asked(x: Tensor) -> None:
    backbone = SASRec(DIM, max_len=12, dropout=0.0, causal=False).double()
    changed = x.clone()
    changed[:, -1] += 1
    assert not torch.allclose(run(backbone, *padded(x, 0))[:, 0], run(backbone, *padded(changed, 0))[:, 0])


@pytest.mark.parametrize("n", [1, 2, 7])
def test_more_padding_changes_nothing(backbone: Any, x: Tensor, n: int) -> None:
    short, long = run(backbone, *padded(x, n)), run(backbone, *padded(x, n + 5))
    torch.testing.assert_close(long[:, n + 5 :], short[:, n:], atol=1e-12, rtol=0)
    torch.testing.assert_close(short[:, n:], run(backbone, *padded(x, 0)), atol=1e-12, rtol=0)


def test_what_padding_holds_is_irrelevant(backbone: Any, x: Tensor) -> None:
    clean, dirty = run(backbone, *padded(x, 3)), run(backbone, *padded(x, 3, normal(2, 3, DIM, seed=9) * 100))
    torch.testing.assert_close(dirty, clean, atol=1e-12, rtol=0)


def test_states_of_padding_are_zero(backbone: Any, x: Tensor) -> None:
    states = run(backbone, *padded(x, 3, 1.0))
    assert not states[:, :3].any()
    assert (states[:, 3:] != 0).any(-1).all()


def test_a_row_of_padding_is_zero_with_finite_gradients(backbone: Any, x: Tensor) -> None:
    inputs, mask = leaf(x), torch.ones(2, LENGTH, dtype=torch.bool)
    mask[1] = False
    states = run(backbone, inputs, mask)
    assert not states[1].any()
    torch.testing.assert_close(states[0], run(backbone, x, mask | True)[0], atol=1e-12, rtol=0)
    states.square().sum().backward()
    assert inputs.grad is not None
    assert not inputs.grad[1].any()
    assert all(p.grad is None or p.grad.isfinite().all() for p in backbone.parameters())


def test_a_state_does_not_depend_on_the_rest_of_the_batch(backbone: Any, x: Tensor) -> None:
    mask = torch.ones(2, LENGTH, dtype=torch.bool)
    mask[0, :3] = False
    together, alone = run(backbone, x, mask)[0, 3:], run(backbone, x[:1, 3:], mask[:1, 3:])[0]
    torch.testing.assert_close(together, alone, atol=1e-12, rtol=0)


@pytest.mark.parametrize("n", [0, 3])
def test_the_last_state_alone_is_the_last_of_all(backbone: Any, x: Tensor, n: int) -> None:
    embedded, mask = padded(x, n)
    mask[1] = False  # a row of padding
    states = backbone(embedded, mask)
    torch.testing.assert_close(backbone(embedded, mask, last_only=True), states[:, -1:], atol=1e-12, rtol=0)


def test_dropout_acts_in_training_alone(backbone: Any, x: Tensor) -> None:
    assert torch.equal(run(backbone, *padded(x, 0)), run(backbone, *padded(x, 0)))
    backbone.train()
    torch.manual_seed(0)
    assert not torch.equal(run(backbone, *padded(x, 0)), run(backbone, *padded(x, 0)))


@pytest.mark.parametrize("layers", [1, 2])
def test_gru4rec_without_biases_starts_from_a_zero_state(layers: int) -> None:
    backbone = GRU4Rec(DIM, layers, dropout=0.0, bias=False).double()
    assert not any(name.startswith("bias") for name, _ in backbone.gru.named_parameters())
    assert not backbone(torch.zeros(1, 3, DIM, dtype=torch.float64), torch.ones(1, 3, dtype=torch.bool)).any()
