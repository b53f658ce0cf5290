import pytest
import torch
from torch import nn

from sage_pl.errors import SettingError
from sage_pl.nn.backbones.bert4rec import BERT4Rec
from sage_pl.nn.backbones.bsarec import BSARec
from sage_pl.nn.backbones.sasrec import SASRec
from sage_pl.nn.backbones.transformer import Norm, Transformer
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


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_a_block_equals_the_layer_of_torch(norm: Norm) -> None:
    backbone = SASRec(DIM, MAX_LEN, layers=1, heads=2, dropout=0.0, norm=norm).double()
    for parameter in backbone.parameters():
        nn.init.normal_(parameter, std=0.3)
    (block,) = backbone.blocks
    layer = nn.TransformerEncoderLayer(DIM, 2, DIM, 0.0, "relu", 1e-8, True, norm == "pre").double()
    attention, projection = block.attention, layer.self_attn
    weights = {
        projection.in_proj_weight: torch.cat([attention.query.weight, attention.key_value.weight]),
        projection.in_proj_bias: torch.cat([attention.query.bias, attention.key_value.bias]),
    }
    pairs = [(projection.out_proj, attention.out), (layer.linear1, block.inner), (layer.linear2, block.outer)]
    pairs += [(layer.norm1, block.norm_query), (layer.norm2, block.norm)]
    weights |= {getattr(theirs, part): getattr(ours, part) for theirs, ours in pairs for part in ("weight", "bias")}
    with torch.no_grad():
        for theirs, ours in weights.items():
            theirs.copy_(ours)
    x, mask = normal(3, MAX_LEN, DIM), torch.ones(3, MAX_LEN, dtype=torch.bool)
    future = nn.Transformer.generate_square_subsequent_mask(MAX_LEN, dtype=torch.float64)
    expected = layer(x, src_mask=future, is_causal=True)
    states = backbone(x, mask)
    torch.testing.assert_close(states, expected if norm == "post" else backbone.norm(expected), atol=1e-10, rtol=0)


def test_every_norm_has_the_same_weights_at_the_start() -> None:
    forms: list[Norm] = ["sasrec", "pre", "post"]
    states = []
    for norm in forms:
        torch.manual_seed(0)
        states.append(SASRec(DIM, MAX_LEN, norm=norm).state_dict())
    torch.testing.assert_close(states[1], states[0], rtol=0, atol=0)
    torch.testing.assert_close(states[2], states[0], rtol=0, atol=0)


def test_the_default_start_is_what_it_was_and_init_std_sets_all_of_it() -> None:
    """Positions 0.02 and Xavier's normal without it; with it every linear layer, and biases of 0."""
    torch.manual_seed(0)
    small = SASRec(32, 40, init_std=0.003)
    linear = [module for module in small.modules() if isinstance(module, nn.Linear)]
    assert len(linear) == 10
    for layer in linear:
        assert layer.weight.std().item() == pytest.approx(0.003, rel=0.1)
        assert not layer.bias.any()
    assert small.position.weight[1:].std().item() == pytest.approx(0.003, rel=0.1)
    default = SASRec(32, 40)
    assert default.position.weight[1:].std().item() == pytest.approx(0.02, rel=0.1)
    assert default.blocks[0].inner.weight.std().item() == pytest.approx((2 / 64) ** 0.5, rel=0.1)
    filtered = BSARec(32, 40, init_std=0.003)
    assert filtered.blocks[1].feed_forward[2].weight.std().item() == pytest.approx(0.003, rel=0.1)
    assert not filtered.blocks[1].feed_forward[2].bias.any()


@pytest.mark.parametrize(("norm", "attend_padding"), [("layer", False), ("post", True)])
def test_a_form_that_is_none_and_attended_padding_elsewhere_are_refused(norm: Norm, attend_padding: bool) -> None:
    with pytest.raises(SettingError, match="wanted a norm of sasrec, pre, post, and sasrec with attend_padding=true"):
        SASRec(DIM, MAX_LEN, norm=norm, attend_padding=attend_padding)
