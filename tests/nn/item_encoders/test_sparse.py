"""What all item encoders with an ID table share: sparse gradients, and giving some of their views alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sage_pl.nn.item_encoders.cached import CachedItems, write_tables
from sage_pl.nn.item_encoders.dual import DualEncoder
from sage_pl.nn.item_encoders.fused import FusedEncoder
from sage_pl.nn.item_encoders.gated import GatedExperts
from sage_pl.nn.item_encoders.gates import SharedGate
from sage_pl.nn.item_encoders.id import IdEncoder
from sage_pl.nn.item_encoders.residual_text import ResidualText
from sage_pl.nn.item_encoders.text import TextEncoder
from tests.golden.prepared import write_rows

N, DIM, TEXT = 9, 4, 6
IDS = torch.tensor([0, 3, 7, 10])
MAKERS: dict[str, Callable[..., Any]] = {
    "id": lambda text, **options: IdEncoder(N, DIM, **options),
    "residual text": lambda text, **options: ResidualText(N, text, DIM, **options),
    "dual": lambda text, **options: DualEncoder(N, text, None, DIM, **options),
    "fused": lambda text, **options: FusedEncoder(N, text, DIM, dropout=0.0, **options),
}


@pytest.fixture
def text(tmp_path: Path) -> str:
    return write_rows(tmp_path / "embed", np.random.default_rng(0).normal(size=(N, TEXT)))


def trained(encoder: Any) -> dict[str, torch.Tensor]:
    """Gradients by name, after a loss of the scored vectors."""
    encoder.double().output(encoder.views(IDS)).pow(3).sum().backward()
    return {name: parameter.grad for name, parameter in encoder.named_parameters()}


@pytest.mark.parametrize("kind", MAKERS)
def test_sparse_gradients_equal_the_dense_ones_and_hold_the_rows_in_use(kind: str, text: str) -> None:
    gradients = []
    for sparse in (True, False):
        torch.manual_seed(0)
        encoder = MAKERS[kind](text, sparse=sparse)
        if isinstance(encoder, ResidualText):
            torch.nn.init.ones_(encoder.weight)
        gradients.append(trained(encoder.eval()))
    table = gradients[0]["table.weight"]
    assert table.is_sparse
    assert table.coalesce().indices()[0].tolist() == [3, 7, 10]
    assert not gradients[1]["table.weight"].is_sparse
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient.to_dense(), gradients[1][name], atol=1e-12, rtol=0)


@pytest.mark.parametrize("kind", MAKERS)
def test_gradients_are_dense_unless_asked(kind: str, text: str) -> None:
    assert not MAKERS[kind](text).table.sparse


def gated(text: str) -> GatedExperts:
    experts = {"a": IdEncoder(N, DIM), "b": TextEncoder(N, text, DIM)}
    return GatedExperts(experts, lambda names: SharedGate(names, {"a": 1.0, "b": -1.0}))


@pytest.mark.parametrize("kind", [*MAKERS, "text", "gated", "cached"])
def test_single_views_equal_those_among_all(kind: str, text: str, tmp_path: Path) -> None:
    if kind == "cached":
        write_tables(gated(text), ["a", "b"], tmp_path, torch.device("cpu"))
        encoder: Any = CachedItems(tmp_path)
    else:
        makers = {**MAKERS, "text": lambda text: TextEncoder(N, text, DIM), "gated": gated}
        encoder = makers[kind](text)
    every = encoder.eval().views(IDS)
    assert every.keys() == encoder.input_dims.keys()
    for name, view in every.items():
        assert torch.equal(encoder.views(IDS, {name})[name], view)


@pytest.mark.parametrize("kind", ["dual", "fused"])
def test_the_id_view_alone_reads_no_text(kind: str, text: str) -> None:
    encoder = MAKERS[kind](text)
    assert encoder.views(IDS, {"id"}).keys() == {"id"}
    encoder.views(IDS, ["id"])["id"].sum().backward()
    assert {name for name, parameter in encoder.named_parameters() if parameter.grad is not None} == {"table.weight"}


def test_one_expert_alone_leaves_the_others_out(text: str) -> None:
    assert gated(text).views(IDS, {"b"}).keys() == {"b"}
