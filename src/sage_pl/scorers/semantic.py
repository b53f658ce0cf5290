"""Semantic similarity added to any model's score when items are ranked."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from sage_pl.item_encoders.vectors import ItemText


class SemanticSimilarity(nn.Module):
    """``score(u, i) = <h_u, v_i> + weight * cos(mean_t x_(u,t), x_i)`` with the text vectors x of the history's items.

    Training never sees it. It stays one inner product, of ``[h_u ; weight * s_u]`` with ``[v_i ; x_i / |x_i|]``, where
    s_u is the mean vector of the history at length 1; a history without text adds nothing.

    Args:
        n_items: N.
        text: path of an artifact with one vector per item, ``table.npy`` [R, T]. That of ``reduce`` is centred and
            narrow, so its cosines spread more and cost less.
        weight: of the cosine beside the inner product; 0 ranks as without.

    Shape: ``table``: ``[M, E], [M] -> [M, E + T]``; ``states``: ``[B, E], [B, L] -> [B, E + T]``.

    Raises:
        ValueError: the table does not belong to this data set.

    Reference: AnkieFan/LLM-ESR, weight 16. Differs: the cosine with the history's mean instead of the largest one with any
    of its items, which would be no inner product.
    """

    def __init__(self, n_items: int, text: str, weight: float) -> None:
        super().__init__()
        self.weight = weight
        self.text = ItemText(text, n_items)

    def table(self, outputs: Float[Tensor, "M E"], ids: Int[Tensor, "M"]) -> Float[Tensor, "M F"]:
        """Vectors of items with their text's direction beside them."""
        return torch.cat([outputs, F.normalize(self.text(ids), dim=-1).to(outputs.dtype)], dim=-1)

    def states(self, hidden: Float[Tensor, "B E"], items: Int[Tensor, "B L"]) -> Float[Tensor, "B F"]:
        """The users' states with their history's direction beside them; padding and mask token have zero text."""
        total = F.embedding_bag(items, self.text.table, mode="sum")
        return torch.cat([hidden, self.weight * F.normalize(total, dim=-1).to(hidden.dtype)], dim=-1)
