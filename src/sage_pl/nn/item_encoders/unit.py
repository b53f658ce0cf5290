"""Items whose scored vectors have length 1."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from sage_pl.types import ItemEncoder, Views


class UnitItems(nn.Module):
    """``v_i / ||v_i||`` of another item encoder; sequences read its views as they are, and a row of zeros stays zero.

    Args:
        encoder: the item encoder.
    """

    def __init__(self, encoder: ItemEncoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.n_items = encoder.n_items
        self.input_dims: Mapping[str, int] = encoder.input_dims
        self.output_dim = encoder.output_dim

    def views(self, ids: Int[Tensor, "M"], names: Collection[str] | None = None) -> Views:
        return self.encoder.views(ids, names)

    def output(self, views: Views) -> Float[Tensor, "*P E"]:
        return F.normalize(self.encoder.output(views), dim=-1)
