"""Items of a kind: those with the same first code."""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor, nn

from sage_pl.nn.item_encoders.code_embedding import load_codes


class CodeGroups(nn.Module):
    """Draws items that have the first code of given ones, uniformly, the given ones among them.

    Args:
        tokens, n_items: see :class:`sage_pl.nn.item_encoders.code_embedding.CodeEmbedding`.
    """

    def __init__(self, tokens: str, n_items: int) -> None:
        super().__init__()
        codes, sizes = load_codes(tokens, n_items)
        first, self.levels = codes[1:-1, 0], len(sizes)
        order = torch.argsort(first, stable=True)
        count = torch.bincount(first)
        self.register_buffer("members", order + 1, persistent=False)
        self.register_buffer("count", nn.functional.pad(count[first], (1, 1), value=1), persistent=False)
        start = (count.cumsum(0) - count)[first]
        self.register_buffer("start", nn.functional.pad(start, (1, 1)), persistent=False)
        self.members: Tensor
        self.count: Tensor
        self.start: Tensor

    def draw(self, ids: Int[Tensor, "*P"]) -> Int[Tensor, "*P"]:
        """For every item one of its kind; any item for padding and mask token."""
        ids = ids.to(self.count.device)
        place = (torch.rand(ids.shape, device=ids.device) * self.count[ids]).long()
        return self.members[self.start[ids] + torch.minimum(place, self.count[ids] - 1)]
