"""Which items of a step a loss over items compares."""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

from sage_pl.types import PADDING


def real_items(
    ids: Int[Tensor, "..."], mask_token: int, unique: bool = True, max_items: int | None = None
) -> Int[Tensor, "M"]:
    """The real items among ``ids``, without padding and mask token.

    Args:
        ids: of any shape.
        mask_token: N + 1.
        unique: each item once; False keeps every occurrence.
        max_items: more are sampled down to so many; None keeps all.
    """
    ids = ids.flatten()
    ids = ids[(ids != PADDING) & (ids != mask_token)]
    if unique:
        ids = torch.unique(ids)
    if max_items is not None and len(ids) > max_items:
        ids = ids[torch.randperm(len(ids), device=ids.device)[:max_items]]
    return ids
