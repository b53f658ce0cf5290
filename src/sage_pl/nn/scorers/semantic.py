"""Semantic similarity added to any model's score when items are ranked."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from sage_pl.errors import SettingError
from sage_pl.nn.item_encoders.item_text import ItemText
from sage_pl.ranges import Count, Signed
from sage_pl.types import PADDING


class SemanticSimilarity(nn.Module):
    """``score(u, i) = <h_u, v_i> + weight * s(u, i)`` with the text vectors x of the history's items and, by ``pool``,

    - ``max``: ``s(u, i) = max_t cos(x_(u,t), x_i)``;
    - ``mean``: ``s(u, i) = cos(mean_t x_(u,t), x_i)``.

    Validation includes it, so the best epoch is chosen with it; losses do not. Scores stay inner products, of
    ``[h_u ; weight * s_u]`` with ``[v_i ; x_i / |x_i|]``: with ``mean``, s_u is the mean vector at length 1; with ``max``, a
    user has a state for each item of the history, of which the best one scores an item, so ranking costs as many products
    as the history has items. A history without text adds nothing.

    Args:
        n_items: N.
        text: path of an artifact with one vector per item, ``table.npy`` [R, T]. That of ``reduce`` is centred and
            narrow, so its cosines spread more and cost less.
        weight: of the cosine beside the inner product; 0 ranks as without.
        pool: ``max`` or ``mean``.

    Shape: ``table``: ``[M, E], [M] -> [M, E + T]``; ``states``: ``[B, E], [B, L] -> [B, E + T]``, with ``max``
    ``[B, L, E + T]``.

    Raises:
        SettingError: the table does not belong to this data set, or ``pool`` is unknown.

    Reference: AnkieFan/LLM-ESR, which takes the largest with weight 16.
    """

    def __init__(self, n_items: Count, text: str, weight: Signed, pool: Literal["max", "mean"] = "max") -> None:
        super().__init__()
        if pool not in ("max", "mean"):
            raise SettingError(f"scorer.pool is {pool!r}, wanted 'max' or 'mean'")
        self.n_items = n_items
        self.weight = weight
        self.pool = pool
        self.text = ItemText(text, n_items)

    def table(self, outputs: Float[Tensor, "M E"], ids: Int[Tensor, "M"]) -> Float[Tensor, "M F"]:
        """The items' vectors with the directions of their texts beside them."""
        return torch.cat([outputs, F.normalize(self.text(ids), dim=-1).to(outputs.dtype)], dim=-1)

    def states(self, hidden: Float[Tensor, "B E"], items: Int[Tensor, "B L"]) -> Float[Tensor, "B *L F"]:
        """The users' states with the directions of their history's texts beside them; padding and mask token have zero text."""
        texts = self.text(items)
        if self.pool == "max":
            # the last real item stands in for padding and mask token, which changes no maximum
            real = (items > PADDING) & (items <= self.n_items)
            last = torch.arange(items.shape[1], device=items.device).where(real, 0).amax(1)
            texts = texts.where(real[..., None], texts[torch.arange(len(texts)), last][:, None])
            hidden = hidden[:, None].expand(*texts.shape[:2], -1)
        else:
            texts = texts.sum(1)
        return torch.cat([hidden, self.weight * F.normalize(texts, dim=-1).to(hidden.dtype)], dim=-1)
