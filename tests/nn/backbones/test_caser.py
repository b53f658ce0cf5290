"""Caser: by hand, against plain loops over windows, and as a causal backbone."""

import pytest
import torch
from torch import Tensor

from sage_pl.nn.backbones.caser import Caser
from tests.golden import naive
from tests.golden.prepared import leaf, normal

LENGTH, DIM, WINDOW = 6, 5, 3


@pytest.fixture(params=[False, True])
def backbone(request: pytest.FixtureRequest) -> Caser:
    torch.manual_seed(0)
    backbone = Caser(DIM, WINDOW, horizontal=2, vertical=4, dropout=0.5, relu=request.param).double().eval()
    for parameter in backbone.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    return backbone


def run(backbone: Caser, x: Tensor, mask: Tensor, last_only: bool = False) -> Tensor:
    return backbone(backbone.embed(x, mask), mask, last_only)


def padded(x: Tensor, n: int, content: float = 0.0) -> tuple[Tensor, Tensor]:
    mask = torch.ones(len(x), n + x.shape[1], dtype=torch.bool)
    mask[:, :n] = False
    return torch.cat([x.new_full((len(x), n, x.shape[2]), content), x], 1), mask


def window_state(backbone: Caser, window: Tensor) -> Tensor:
    """The state of one window [w, D], by the formulas of the paper."""
    features = []
    for height, filters in enumerate(backbone.horizontal, start=1):
        for weight, bias in zip(filters.weight, filters.bias, strict=True):  # type: ignore[arg-type]
            scores = [(weight.T * window[i : i + height]).sum() + bias for i in range(WINDOW - height + 1)]
            features.append(torch.stack(scores).clamp(min=0).max())
    sums = [
        (weights[:, None] * window).sum(0) + bias
        for weights, bias in zip(backbone.vertical.weight, backbone.vertical.bias, strict=True)
    ]
    state = naive.linear(backbone.out, torch.cat([torch.stack(features), torch.stack(sums).flatten()]))
    return state.clamp(min=0) if backbone.relu else state


def test_equals_plain_loops_over_windows(backbone: Caser) -> None:
    x = normal(2, LENGTH, DIM)
    states = run(backbone, *padded(x, 2))
    for row, ours in zip(x, states, strict=True):
        before = torch.cat([row.new_zeros(WINDOW - 1, DIM), row * DIM**0.5])
        expected = torch.stack([window_state(backbone, before[t : t + WINDOW]) for t in range(LENGTH)])
        torch.testing.assert_close(ours[2:], expected, atol=1e-12, rtol=0)


def test_two_items_by_hand() -> None:
    """Width 1, window 2: heights 1 and 2 with one filter each, one vertical filter, all of them added up."""
    backbone = Caser(1, window=2, horizontal=1, vertical=1, dropout=0.0)
    backbone.horizontal[0].weight.data.fill_(2.0)
    backbone.horizontal[1].weight.data.copy_(torch.tensor([[[1.0, -3.0]]]))
    backbone.vertical.weight.data.copy_(torch.tensor([[10.0, 100.0]]))
    backbone.out.weight.data.fill_(1.0)
    states = run(backbone, torch.tensor([[[4.0], [1.0]]]), torch.ones(1, 2, dtype=torch.bool))
    # (0, 4): max(0, 8) + max(0 - 12, 0) + 400; (4, 1): max(8, 2) + (4 - 3) + 140
    assert states.flatten().tolist() == [408.0, 149.0]


def test_a_state_depends_on_its_window_alone(backbone: Caser) -> None:
    x = normal(1, LENGTH, DIM)
    before = run(backbone, *padded(x, 0))
    for place in range(LENGTH):
        changed = x.clone()
        changed[:, place] += 1
        differs = (run(backbone, *padded(changed, 0)) - before).abs().amax(-1)[0] > 1e-9
        assert differs.nonzero().flatten().tolist() == list(range(place, min(place + WINDOW, LENGTH)))
    assert backbone.causal


def test_padding_other_users_and_its_content_change_nothing(backbone: Caser) -> None:
    x = normal(3, LENGTH, DIM)
    plain = run(backbone, *padded(x, 0))
    for n, content in ((1, 0.0), (4, 100.0)):
        states = run(backbone, *padded(x, n, content))
        torch.testing.assert_close(states[:, n:], plain, atol=1e-12, rtol=0)
        assert not states[:, :n].any()
    torch.testing.assert_close(run(backbone, *padded(x[:1], 0))[0], plain[0], atol=1e-12, rtol=0)


@pytest.mark.parametrize("length", [1, 2, WINDOW, LENGTH])
def test_the_last_state_alone_is_the_last_of_all(backbone: Caser, length: int) -> None:
    x, mask = padded(normal(3, length, DIM), 0)
    mask[1] = False
    last = run(backbone, x, mask, last_only=True)
    assert last.shape == (3, 1, DIM)
    torch.testing.assert_close(last, run(backbone, x, mask)[:, -1:], atol=1e-12, rtol=0)


def test_a_row_of_padding_is_zero_with_finite_gradients(backbone: Caser) -> None:
    inputs, mask = leaf(normal(2, LENGTH, DIM)), torch.ones(2, LENGTH, dtype=torch.bool)
    mask[1] = False
    states = run(backbone, inputs, mask)
    assert not states[1].any()
    states.square().sum().backward()
    assert inputs.grad is not None
    assert not inputs.grad[1].any()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.any() for p in backbone.parameters())


def test_dropout_acts_in_training_alone(backbone: Caser) -> None:
    x = padded(normal(2, LENGTH, DIM), 0)
    assert torch.equal(run(backbone, *x), run(backbone, *x))
    backbone.train()
    assert not torch.equal(run(backbone, *x), run(backbone, *x))
