"""Items as one vector made of a trained ID vector and projected text."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sage_pl.errors import SettingError
from sage_pl.nn.item_encoders.item_text import ItemText
from sage_pl.nn.item_encoders.projection import TextProjection
from sage_pl.ranges import Count, Dropout, Width
from sage_pl.types import Views


class FusedEncoder(nn.Module):
    """Views ``id`` (a trained table), ``text`` (projected frozen text) and ``fused``, which is read and scored.

    ``v_i = GELU(W dropout([E[i] ; g(x_i)]) + b)``. The parts are views too, so that a loss can compare them; the fusion,
    trained by the recommendation loss, ties an item's text to its ID vector.

    The mask token has a trained ID vector and the projection of a zero vector, g(0).

    Args:
        n_items: N.
        text: path of an artifact with one vector per item, ``table.npy`` [R, D_text].
        dim: width D of each view and of the scored vector.
        adapter: g, called with D_text and ``dim`` (a node with ``_partial_: true``); None for
            :class:`sage_pl.nn.item_encoders.projection.TextProjection`.
        dropout: before the fusion, in [0, 1).
        freeze: the text vectors are constants, which a checkpoint names by their artifact instead of containing them.
        sparse: see :class:`sage_pl.nn.item_encoders.id.IdEncoder`; of the ID table alone.

    Raises:
        SettingError: the table does not belong to this data set, or ``dropout`` is outside [0, 1).

    Reference: PAD's code, its aligned tower. Differs: ID vectors start from N(0, 0.02²) as everywhere here (Xavier there),
    and each item of a step is projected once, where the reference projects every slot.
    """

    def __init__(
        self,
        n_items: Count,
        text: str,
        dim: Width = 64,
        adapter: Callable[[int, int], nn.Module] | None = None,
        dropout: Dropout = 0.1,
        freeze: bool = True,
        sparse: bool = False,
    ) -> None:
        super().__init__()
        if not 0 <= dropout < 1:
            raise SettingError(f"item_encoder.dropout is {dropout}, wanted a share in [0, 1)")
        self.n_items = n_items
        self.input_dims: Mapping[str, int] = {"id": dim, "text": dim, "fused": dim}
        self.output_dim = dim
        self.table = nn.Embedding(n_items + 2, dim, padding_idx=0, sparse=sparse)
        nn.init.normal_(self.table.weight, std=0.02)
        nn.init.zeros_(self.table.weight[0])
        self.text = ItemText(text, n_items, freeze)
        self.adapter = (adapter or TextProjection)(self.text.width, dim)
        fusion = nn.Linear(2 * dim, dim)
        nn.init.xavier_normal_(fusion.weight)
        nn.init.zeros_(fusion.bias)
        self.fuse = nn.Sequential(nn.Dropout(dropout), fusion, nn.GELU())

    def views(self, ids: Int[Tensor, "M"], names: Collection[str] | None = None) -> Views:
        vectors = self.table(ids)
        if names is not None and not {"text", "fused"} & set(names):
            return {"id": vectors}
        text = self.adapter(self.text(ids))
        return {"id": vectors, "text": text, "fused": self.fuse(torch.cat([vectors, text], dim=-1))}

    def output(self, views: Views) -> Float[Tensor, "*P E"]:
        return views["fused"]
