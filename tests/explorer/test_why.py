"""Parts of a score sum to it; parts of a vector are those of the encoder's formula; an item left out is left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sage_pl.explorer.why import vector_parts
from sage_pl.nn.item_encoders.dual import DualEncoder
from sage_pl.nn.item_encoders.fused import FusedEncoder
from sage_pl.nn.item_encoders.gated import GatedExperts
from sage_pl.nn.item_encoders.id import IdEncoder
from sage_pl.nn.item_encoders.residual_text import ResidualText
from sage_pl.nn.item_encoders.text import TextEncoder
from sage_pl.nn.item_encoders.unit import UnitItems
from tests.golden.prepared import write_rows

N, DIM = 6, 4
IDS = torch.arange(1, N + 1)


@pytest.fixture
def text(tmp_path: Path) -> str:
    return write_rows(tmp_path / "embed", np.random.default_rng(0).normal(size=(N, 10)))


def gate(names: tuple[str, ...]) -> Any:
    class Halves(torch.nn.Module):
        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return torch.full((*ids.shape, len(names)), 0.5)

    return Halves()


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("id", {"id"}),
        ("dual", {"id", "text"}),
        ("residual", {"id", "text"}),
        ("text", {"text"}),
        ("gated", {"id", "text"}),
        ("fused", {"fused"}),
        ("unit", {"id and text"}),
    ],
)
def test_parts_sum_to_the_vector(name: str, parts: set[str], text: str) -> None:
    encoders: dict[str, Any] = {
        "id": lambda: IdEncoder(N, DIM),
        "dual": lambda: DualEncoder(N, text, None, DIM),
        "residual": lambda: ResidualText(N, text, DIM),
        "text": lambda: TextEncoder(N, text, DIM),
        "gated": lambda: GatedExperts({"id": IdEncoder(N, DIM), "text": TextEncoder(N, text, DIM)}, gate),
        "fused": lambda: FusedEncoder(N, text, DIM),
        "unit": lambda: UnitItems(DualEncoder(N, text, None, DIM)),
    }
    torch.manual_seed(0)
    encoder = encoders[name]().eval()
    for parameter in encoder.parameters():
        parameter.copy_(torch.randn_like(parameter))
    found = vector_parts(encoder, IDS)
    assert set(found) == parts
    torch.testing.assert_close(sum(found.values()), encoder.output(encoder.views(IDS)))
    if name == "residual":
        torch.testing.assert_close(found["id"], encoder.table.weight[1:-1])
    if name == "dual":
        assert not found["id"][:, DIM:].any(), "the ID part lies in the ID half"
        assert not found["text"][:, :DIM].any()
