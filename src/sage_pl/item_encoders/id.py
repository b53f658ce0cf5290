"""Items as rows of one trained table: the collaborative view."""

from __future__ import annotations

from collections.abc import Mapping

from jaxtyping import Float, Int
from torch import Tensor, nn

from sage_pl.types import Views


class IdEncoder(nn.Module):
    """One trained vector per item, N(0, 0.02²); row 0 (padding) stays zero.

    Args:
        n_items: N.
        dim: width D of the view and of the scored vector.
    """

    def __init__(self, n_items: int, dim: int = 64) -> None:
        super().__init__()
        self.n_items = n_items
        self.input_dims: Mapping[str, int] = {"id": dim}
        self.output_dim = dim
        self.table = nn.Embedding(n_items + 2, dim, padding_idx=0)
        nn.init.normal_(self.table.weight, std=0.02)
        nn.init.zeros_(self.table.weight[0])

    def views(self, ids: Int[Tensor, "M"]) -> Views:
        return {"id": self.table(ids)}

    def output(self, views: Views) -> Float[Tensor, "*P E"]:
        return views["id"]
