"""A query keeps its own item at the start; a mask token, which has none, keeps the last item before it."""

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor

from sage_pl.nn.backbones.attention import attention_mask
from sage_pl.nn.modules.histories import HistoryReader
from sage_pl.nn.modules.step import prepare_batch
from sage_pl.nn.sequence_encoders.cross_attention import CrossAttention, own_positions
from sage_pl.nn.sequence_encoders.dual import DualView
from tests.golden.prepared import N_ITEMS, left_pad, make_backbone, make_targets

DIM, LENGTH, HEADS = 64, 8, 2


def weights(module: CrossAttention, query: Tensor, source: Tensor, causal: bool = True) -> Tensor:
    """[B, H, L, L] of unmasked items, read off by one-hot values."""
    mask = torch.ones(query.shape[:2], dtype=torch.bool)
    allowed, own = attention_mask(mask, causal), own_positions(mask)
    q = module._split(module.query(query))
    k = module._split(module.key_value(source)[..., : query.shape[-1]])
    products = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    added = module.added(allowed, own)
    return (products.masked_fill(~allowed, -torch.inf) if added is allowed else products + added).softmax(-1)


def contents() -> tuple[Tensor, Tensor]:
    """Two views as large as those of a run's first step: root mean square 0.7."""
    generator = torch.Generator().manual_seed(3)
    first, second = (0.7 * torch.randn(64, LENGTH, DIM, generator=generator) for _ in range(2))
    return first, second


def own_weight(module: CrossAttention) -> float:
    """Mean weight on the own item of the last query, which sees all others."""
    return weights(module, *contents())[:, :, -1, -1].mean().item()


def test_the_published_start_is_mean_pooling() -> None:
    assert own_weight(CrossAttention(DIM, HEADS)) == pytest.approx(1 / LENGTH, abs=0.03)


def test_a_query_starts_with_most_of_its_weight_on_its_own_item() -> None:
    start = OmegaConf.load(Path("conf/sequence_encoder/dual.yaml")).own_position
    assert own_weight(CrossAttention(DIM, HEADS, start)) > 0.9


def test_a_position_starts_as_its_own_item_and_the_published_one_as_another_vector() -> None:
    query, source = contents()
    mask = torch.ones(query.shape[:2], dtype=torch.bool)
    near = {
        start: torch.cosine_similarity(
            CrossAttention(DIM, HEADS, start)(query, source, attention_mask(mask, True), own_positions(mask)),
            source,
            -1,
        )[:, -1].mean()
        for start in (None, 5.0)
    }
    assert near[5.0] > 0.95
    assert near[None].abs() < 0.1


def test_the_number_is_learned_for_each_head() -> None:
    module = CrossAttention(DIM, HEADS, 5.0)
    query, source = contents()
    mask = torch.ones(query.shape[:2], dtype=torch.bool)
    module(query, source, attention_mask(mask, True), own_positions(mask)).square().sum().backward()
    assert module.own is not None
    assert module.own.grad is not None
    assert module.own.grad.shape == (HEADS,)
    assert module.own.grad.all()


def test_the_published_form_has_the_weights_of_earlier_checkpoints() -> None:
    names = {"query.weight", "key_value.weight", "out.weight", "out.bias"}
    assert CrossAttention(DIM, HEADS).state_dict().keys() == names
    assert CrossAttention(DIM, HEADS, 5.0).state_dict().keys() == names | {"own"}


def test_the_own_item_of_a_mask_token_is_the_last_item_before_it() -> None:
    items = left_pad([[4, 5, 9, 9, 6, 9], [9, 9, 7]])
    own = own_positions(items > 0, items == 9)
    assert own.tolist() == [[0, 1, 1, 1, 4, 4], [0, 1, 2, 3, 4, 5]]


@pytest.mark.parametrize("kind", ["training", "serving"])
def test_a_mask_token_starts_as_the_last_item_in_training_and_in_serving(kind: str) -> None:
    """The views that the backbone reads at the appended mask token, with one-hot items."""
    history, mask_token = [1, 2, 3], N_ITEMS + 1
    targets = make_targets("bert4rec")
    backbone = make_backbone("bert4rec", dim=N_ITEMS + 2, max_len=12)
    backbone.position.weight.data.zero_()
    encoder = DualView(backbone, heads=2, own_position=50.0).double()
    read: list[Tensor] = []
    backbone.forward = lambda x, mask, last_only: read.append(x) or x
    views = {name: torch.eye(N_ITEMS + 2, dtype=torch.float64) for name in ("id", "text")}
    if kind == "training":
        batch = prepare_batch({"items": left_pad([[*history, 4]])}, targets, [], mask_token)
        ids = batch["items"]
        encoder({name: view[ids] for name, view in views.items()}, ids > 0, batch)
    else:
        reader = HistoryReader()
        reader.targets, reader.sequence_encoder, reader.max_len = targets, encoder, None
        reader.item_encoder = type(
            "Items",
            (),
            {
                "n_items": N_ITEMS,
                "input_dims": {},
                "output_dim": 0,
                "views": lambda self, ids, names=None: {n: v[ids] for n, v in views.items()},
                "output": lambda self, views: views,
            },
        )()
        reader.encode(torch.tensor([history]))
    rows = read[0][-1:] if kind == "serving" else read[0][1::2]
    assert rows[:, -1].argmax(-1).tolist() == [history[-1]] * len(rows)
