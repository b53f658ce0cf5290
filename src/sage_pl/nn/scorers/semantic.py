"""Semantic similarity added to any model's score when items are ranked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from sage_pl.errors import SettingError
from sage_pl.nn.item_encoders.item_text import ItemText, every_row
from sage_pl.ranges import Count, Signed
from sage_pl.types import PADDING, Case


class SemanticSimilarity(nn.Module):
    """``score(u, i) = <h_u, v_i> + weight * s(u, i)`` with the text vectors x of the history's items and, by ``pool``,

    - ``max``: ``s(u, i) = max_t cos(x_(u,t), x_i)``;
    - ``mean``: ``s(u, i) = cos(mean_t x_(u,t), x_i)``.

    Validation includes it, so the best epoch is chosen with it; losses do not. A history without text adds nothing.

    Args:
        n_items: N.
        text: path of an artifact with one vector per item, ``table.npy`` [R, T]. That of ``reduce`` is centred and
            narrow, so its cosines spread more and cost less.
        weight: of the cosine beside the inner product; 0 ranks as without.
        pool: ``max`` or ``mean``.

    Shape: ``[B, R], [B, L] -> [B, R]``.

    Raises:
        SettingError: the table does not belong to this data set, or ``pool`` is unknown.

    Reference: AnkieFan/LLM-ESR, which takes the largest with weight 16.
    """

    chosen: ClassVar[bool] = True
    cases: ClassVar[int] = 0

    def __init__(self, n_items: Count, text: str, weight: Signed, pool: Literal["max", "mean"] = "max") -> None:
        super().__init__()
        if pool not in ("max", "mean"):
            raise SettingError(f"scorer.pool is {pool!r}, wanted 'max' or 'mean'")
        self.n_items = n_items
        self.weight = weight
        self.pool = pool
        self.text = ItemText(text, n_items)

    def forward(
        self, scores: Float[Tensor, "B R"], items: Int[Tensor, "B L"], users: Int[Tensor, "B"] | None = None
    ) -> Float[Tensor, "B R"]:
        every = F.normalize(self.text(every_row(self.n_items + 2, items.device)), dim=-1)
        read = self.text(items)
        if self.pool == "mean":
            return scores + self.weight * (F.normalize(read.sum(1), dim=-1) @ every.T).to(scores.dtype)
        nearest = torch.full_like(scores, -torch.inf, dtype=every.dtype)
        for place in range(items.shape[1]):
            cosines = F.normalize(read[:, place], dim=-1) @ every.T
            held = (items[:, place] > PADDING) & (items[:, place] <= self.n_items)  # not padding, not the mask token
            nearest = torch.maximum(nearest, cosines.where(held[:, None], -torch.inf))
        return scores + self.weight * nearest.where(nearest > -torch.inf, 0.0).to(scores.dtype)

    def append(self, text: Float[Tensor, "M T"]) -> None:
        raise SettingError(
            "scorer=semantic takes no new items; add them without it (+overrides.scorer=null) or with scorer=fusion"
        )

    def choose(self, cases: Callable[[], Iterator[Case]]) -> None:
        """Nothing is left to choose: ``weight`` is a setting."""
