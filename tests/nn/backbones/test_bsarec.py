from typing import Any

import pytest
import torch
from torch import Tensor

from sage_pl.nn.backbones.bsarec import BSARec, low_pass
from sage_pl.nn.backbones.none import NoBackbone
from tests.golden import naive
from tests.golden.prepared import normal

LENGTH, DIM = 5, 8


@pytest.fixture
def backbone() -> BSARec:
    torch.manual_seed(0)
    backbone = BSARec(DIM, max_len=20, layers=2, heads=2, dropout=0.5, cutoff=3).double().eval()
    backbone.position.weight.data[1:] *= 20
    return backbone


def run(backbone: Any, x: Tensor, mask: Tensor) -> Tensor:
    return backbone(backbone.embed(x, mask), mask)


def padded(x: Tensor, n: int, content: float = 0.0) -> tuple[Tensor, Tensor]:
    mask = torch.ones(len(x), n + x.shape[1], dtype=torch.bool)
    mask[:, :n] = False
    return torch.cat([x.new_full((len(x), n, x.shape[2]), content), x], 1), mask


@pytest.mark.parametrize("cutoff", [1, 2, 3, 5, 9])
@pytest.mark.parametrize("n", [1, 2, 5, 6, 11])
def test_the_filter_is_the_fourier_transform_without_its_fast_waves(n: int, cutoff: int) -> None:
    x = normal(1, n, DIM)
    waves = torch.fft.rfft(x, dim=1, norm="ortho")
    waves[:, cutoff // 2 + 1 :] = 0
    expected = torch.fft.irfft(waves, n=n, dim=1, norm="ortho")
    for front in (0, 3):
        given, mask = padded(x, front, 7.0)
        torch.testing.assert_close((low_pass(mask, cutoff).double() @ given)[:, front:], expected, atol=1e-5, rtol=0)


def test_the_filter_by_hand() -> None:
    """Of four positions the slowest wave alone is the mean; with the next one, all but the alternating part."""
    mask = torch.tensor([[False, True, True, True, True]])
    mean = torch.zeros(5, 5)
    mean[1:, 1:] = 0.25
    torch.testing.assert_close(low_pass(mask, 1)[0], mean)
    alternating = torch.tensor([0.0, 1, -1, 1, -1]) / 2
    both = torch.eye(5) * mask[0] - torch.outer(alternating, alternating)
    torch.testing.assert_close(low_pass(mask, 2)[0], both, atol=1e-6, rtol=0)


def test_equals_plain_loops(backbone: BSARec) -> None:
    x = normal(1, LENGTH, DIM)
    h = naive.layer_norm(backbone.norm, x[0] + backbone.position.weight[1 : LENGTH + 1])
    for block in backbone.blocks:
        waves = torch.fft.rfft(h, dim=0, norm="ortho")
        waves[2:] = 0
        low = torch.fft.irfft(waves, n=LENGTH, dim=0, norm="ortho")
        filtered = naive.layer_norm(block.norm_filter, h + low + block.beta**2 * (h - low))  # type: ignore[operator]
        attended = naive.layer_norm(
            block.norm_attention, h + naive.attention(block.attention, h, h, lambda i, j: j <= i)
        )
        h = 0.7 * filtered + 0.3 * attended
        wide = torch.nn.functional.gelu(naive.linear(block.feed_forward[0], h))  # type: ignore[index]
        h = naive.layer_norm(block.norm, h + naive.linear(block.feed_forward[2], wide))  # type: ignore[index]
    torch.testing.assert_close(run(backbone, *padded(x, 2))[0, 2:], h, atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", ["bsarec", "none"])
def test_padding_and_other_users_change_nothing(kind: str, backbone: BSARec) -> None:
    model = backbone if kind == "bsarec" else NoBackbone(DIM, 0.5).double().eval()
    x = normal(3, LENGTH, DIM)
    plain = run(model, *padded(x, 0))
    for n, content in ((1, 0.0), (4, 100.0)):
        states = run(model, *padded(x, n, content))
        torch.testing.assert_close(states[:, n:], plain, atol=1e-6, rtol=0)
        assert not states[:, :n].any()
    torch.testing.assert_close(run(model, *padded(x[:1], 0))[0], plain[0], atol=1e-6, rtol=0)
    given = padded(x, 2)
    embedded = model.embed(*given)
    torch.testing.assert_close(model(embedded, given[1], last_only=True), model(embedded, given[1])[:, -1:])
    nothing = run(model, x, torch.zeros(3, LENGTH, dtype=torch.bool))
    assert not nothing.any()


def test_every_position_sees_the_whole_sequence(backbone: BSARec) -> None:
    x = normal(1, LENGTH, DIM)
    changed = x.clone()
    changed[:, -1] += torch.arange(DIM)
    before, after = run(backbone, *padded(x, 0)), run(backbone, *padded(changed, 0))
    assert ((before - after).abs().amax(-1) > 1e-6).all()
    assert not backbone.causal


def test_without_a_sequence_model_a_state_is_its_item() -> None:
    x, mask = padded(normal(2, LENGTH, DIM), 1, 3.0)
    states = run(NoBackbone(DIM, 0.0), x, mask)
    torch.testing.assert_close(states[:, 1:], x[:, 1:] * DIM**0.5)
    assert not states[:, 0].any()


@pytest.mark.parametrize("wrong", [{"alpha": 1.5}, {"cutoff": 0}])
def test_impossible_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="wanted a share in"):
        BSARec(DIM, **wrong)
