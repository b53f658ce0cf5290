"""Scores of items without training events, from their neighbours in text."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from sage_pl.nn.scorers.recent_text import RecentText

_TEMPERATURE = 0.1
_BLOCK = 1024  # unseen items compared at a time


class Filling(nn.Module):
    """Replaces an unseen item's score by the mean of those of its k nearest trained items in text, weighted by the softmax of
    their cosines at temperature 0.1. For inner products this is the score of the mean vector. An item whose text vector is
    zero is nobody's neighbour and keeps its score.

    Args:
        text: vectors of all items.
        trained: items with training events.
        k: neighbours; at least 1.

    Shape: ``[b, R] -> [b, R]``.
    """

    unseen: Tensor  # [M]
    neighbours: Tensor  # [M, k]
    shares: Tensor  # [M, k]

    def __init__(self, text: RecentText, trained: Bool[Tensor, "R"], k: int) -> None:
        super().__init__()
        has_text = text.vectors.any(1)[text.row]
        sources = (trained & has_text).nonzero().squeeze(1)
        unseen = (~trained & has_text & (len(sources) > 0)).nonzero().squeeze(1)
        vectors = text.of(sources)
        nearest = [(text.of(block) @ vectors.T).topk(min(k, len(sources)), dim=1) for block in unseen.split(_BLOCK)]
        self.register_buffer("unseen", unseen, persistent=False)
        self.register_buffer("neighbours", sources[torch.cat([part.indices for part in nearest])], persistent=False)
        shares = (torch.cat([part.values for part in nearest]) / _TEMPERATURE).softmax(1)
        self.register_buffer("shares", shares, persistent=False)

    def forward(self, scores: Float[Tensor, "b R"]) -> Float[Tensor, "b R"]:
        near = scores.index_select(1, self.neighbours.flatten()).view(len(scores), *self.neighbours.shape)
        return scores.index_copy(1, self.unseen, torch.einsum("bnk,nk->bn", near, self.shares.to(scores.dtype)))
