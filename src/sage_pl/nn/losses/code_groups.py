"""Groups of items: those with the same first code."""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

from sage_pl.nn.item_encoders.code_embedding import load_codes
from sage_pl.ranges import Count


class CodeGroups:
    """Draws for each item one with the same first code, uniformly, itself included; on the CPU.

    Args:
        tokens, n_items: see :class:`sage_pl.nn.item_encoders.code_embedding.CodeEmbedding`.
    """

    def __init__(self, tokens: str, n_items: Count) -> None:
        codes, sizes = load_codes(tokens, n_items)
        first, self.levels = codes[1:-1, 0], len(sizes)
        count = torch.bincount(first)
        self._members = torch.argsort(first, stable=True) + 1  # items, group after group
        self._count = torch.nn.functional.pad(count[first], (1, 1), value=1)  # [R] size of each item's group
        self._start = torch.nn.functional.pad((count.cumsum(0) - count)[first], (1, 1))  # [R] where it begins

    def draw(self, ids: Int[Tensor, "*P"]) -> Int[Tensor, "*P"]:
        """An item of the same group for every item; any item for padding and mask token."""
        count = self._count[ids]
        place = (torch.rand(ids.shape) * count).long()
        return self._members[self._start[ids] + torch.minimum(place, count - 1)]
