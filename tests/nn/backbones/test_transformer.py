import pytest
import torch

from sage_pl.nn.backbones.bert4rec import BERT4Rec
from sage_pl.nn.backbones.sasrec import SASRec
from sage_pl.nn.backbones.transformer import Transformer
from tests.golden import naive
from tests.golden.prepared import leaf, normal

MAX_LEN, DIM = 7, 8


def parity_backbone(kind: str) -> Transformer:
    torch.manual_seed(0)
    if kind == "bert4rec":
        return BERT4Rec(DIM, MAX_LEN, heads=2, attend_padding=True).double().eval()
    return SASRec(DIM, MAX_LEN, heads=2, causal=False, attend_padding=True).double().eval()


@pytest.mark.parametrize("kind", ["sasrec", "bert4rec"])
def test_attended_padding_equals_the_padded_reference(kind: str) -> None:
    backbone = parity_backbone(kind)
    lengths = [1, 4, MAX_LEN]  # of a batch that is trimmed to its longest; the last has no padding at all
    width = max(lengths)
    rows = [leaf(normal(n, DIM, seed=n)) for n in lengths]
    x = torch.stack([torch.cat([row.new_zeros(width - len(row), DIM), row]) for row in rows])
    mask = torch.arange(width) >= width - torch.tensor(lengths)[:, None]

    states = backbone(x, mask)

    expected = [naive.padded_transformer(backbone, row) for row in rows]
    for state, n, want in zip(states, lengths, expected, strict=True):
        torch.testing.assert_close(state[width - n :], want, atol=1e-12, rtol=0)
    parameters = [*rows, *(p for name, p in backbone.named_parameters() if name != "position.weight")]
    ours = torch.autograd.grad(states.pow(3).sum(), parameters)
    theirs = torch.autograd.grad(torch.cat(expected).pow(3).sum(), parameters)
    for mine, want in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, want, atol=1e-9, rtol=1e-9)


def test_attended_padding_counts_what_was_trimmed_away() -> None:
    backbone, x = parity_backbone("sasrec"), normal(1, 3, DIM)
    padded, mask = torch.cat([x.new_zeros(1, 4, DIM), x], 1), torch.tensor([[False] * 4 + [True] * 3])
    torch.testing.assert_close(backbone(x, mask[:, 4:]), backbone(padded, mask)[:, 4:], atol=1e-12, rtol=0)


@pytest.mark.parametrize("kind", ["sasrec", "bert4rec"])
def test_attended_padding_with_the_last_state_alone(kind: str) -> None:
    backbone, x = parity_backbone(kind), normal(2, 3, DIM)
    mask = torch.tensor([[False, True, True], [True, True, True]])
    torch.testing.assert_close(backbone(x, mask, last_only=True), backbone(x, mask)[:, -1:], atol=1e-12, rtol=0)


def test_attended_padding_depends_on_the_maximal_length() -> None:
    backbone, x, mask = parity_backbone("sasrec"), normal(1, 3, DIM), torch.ones(1, 3, dtype=torch.bool)
    before = backbone(x, mask)
    backbone.max_len += 5
    assert not torch.allclose(backbone(x, mask), before)


def test_attended_padding_leaves_a_sequence_longer_than_the_maximum_alone() -> None:
    """An appended mask token makes an input of ``max_len + 1``; it has no padding, not a negative number of them."""
    parity = parity_backbone("bert4rec")
    plain = BERT4Rec(DIM, MAX_LEN, heads=2).double().eval()
    plain.load_state_dict(parity.state_dict())
    x, mask = normal(1, MAX_LEN + 1, DIM), torch.ones(1, MAX_LEN + 1, dtype=torch.bool)
    torch.testing.assert_close(parity(x, mask), plain(x, mask), atol=1e-12, rtol=0)


def test_positions_count_from_the_oldest_visible_item() -> None:
    backbone = SASRec(DIM, MAX_LEN).double().eval()
    x, mask = normal(2, 3, DIM), torch.tensor([[False, True, True], [True, True, True]])
    places = backbone.position.weight[torch.tensor([[0, 1, 2], [1, 2, 3]])]
    torch.testing.assert_close(backbone.embed(x, mask), x * DIM**0.5 + places, atol=1e-12, rtol=0)


def test_there_is_a_position_for_an_appended_mask_token() -> None:
    backbone = BERT4Rec(DIM, MAX_LEN).double()
    x, mask = normal(1, MAX_LEN + 1, DIM), torch.ones(1, MAX_LEN + 1, dtype=torch.bool)
    assert backbone.embed(x, mask).shape == x.shape
