"""Items without vectors, for rankers that are not trained."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sage_pl.ranges import Count
from sage_pl.types import Views


class NoVectors(nn.Module):
    """Every item's vector has width 0, so all scores are equal and a scorer alone ranks.

    Args:
        n_items: N.
    """

    input_dims: Mapping[str, int]
    output_dim = 0

    def __init__(self, n_items: Count) -> None:
        super().__init__()
        self.n_items = n_items
        self.input_dims = {"nothing": 0}

    def views(self, ids: Int[Tensor, "M"], names: Collection[str] | None = None) -> Views:
        return {"nothing": torch.zeros(len(ids), 0, device=ids.device)}

    def output(self, views: Views) -> Float[Tensor, "*P E"]:
        return views["nothing"]
