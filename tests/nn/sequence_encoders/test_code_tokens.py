import pytest
import torch
from torch import Tensor

from sage_pl.nn.sequence_encoders.code_tokens import CodeTokens
from tests.golden.naive import attention, linear
from tests.golden.prepared import normal
from tests.nn.decoders.tiny import rms_norm

DIM, LEVELS = 4, 3


def make_encoder() -> CodeTokens:
    encoder = CodeTokens(DIM, max_len=6, layers=2, heads=2, hidden=5, dropout=0.0).double()
    for seed, weight in enumerate(encoder.parameters()):
        torch.nn.init.normal_(weight, generator=torch.Generator().manual_seed(seed))
    return encoder


def encoded(encoder: CodeTokens, tokens: Tensor, mask: Tensor) -> Tensor:
    return encoder({"tokens": tokens}, mask, {"items": mask.long()})


def naive(encoder: CodeTokens, items: Tensor) -> Tensor:
    """One history [L, T D] without padding."""
    rows = [
        token * DIM**0.5 + encoder.position.weight[len(items) - place]
        for place, item in enumerate(items)
        for token in item.split(DIM)
    ]
    x = torch.stack(rows)
    for block in encoder.blocks:
        source = rms_norm(block.norm_own, x)
        x = x + attention(block.own, source, source, lambda i, j: True)
        x = x + linear(block.outer, linear(block.inner, rms_norm(block.norm, x)).clamp(min=0))
    return rms_norm(encoder.norm, x)


@pytest.mark.parametrize("levels", [LEVELS, 1], ids=["codes", "one token per item"])
def test_every_history_is_read_as_if_it_were_alone(levels: int) -> None:
    encoder, lengths = make_encoder(), [2, 4, 1]
    mask = torch.arange(5) >= 5 - torch.tensor(lengths)[:, None]
    items = normal(3, 5, levels * DIM)
    states = encoded(encoder, items, mask)
    assert states.shape == (3, 5 * levels, DIM)
    for row, length in enumerate(lengths):
        expected = naive(encoder, items[row, -length:])
        torch.testing.assert_close(states[row, -length * levels :], expected, atol=1e-12, rtol=0)
        assert not states[row, : -length * levels].any()
    last = encoder({"tokens": items}, mask, {"items": mask.long()}, last_only=True)
    torch.testing.assert_close(last, states[:, -1:])


def test_order_counts_and_later_items_are_seen_by_earlier_ones() -> None:
    encoder, items = make_encoder(), normal(1, 3, LEVELS * DIM)
    mask = torch.ones(1, 3, dtype=torch.bool)
    assert (encoded(encoder, items, mask) - encoded(encoder, items.flip(1), mask).flip(1)).abs().min() > 1e-6
    changed = items.clone()
    changed[0, 2] += 1
    assert (encoded(encoder, items, mask)[0, 0] - encoded(encoder, changed, mask)[0, 0]).abs().min() > 1e-6
