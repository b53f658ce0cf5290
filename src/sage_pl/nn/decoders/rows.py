"""Rows gathered per user, and sums over groups of columns."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor


def gather_rows(x: Shaped[Tensor, "#B P ..."], rows: Int[Tensor, "#B C"]) -> Shaped[Tensor, "_ C ..."]:
    """``x[b, rows[b, c]]``; a first axis of 1, of ``rows`` or of ``x``, is broadcast to all users."""
    if len(rows) == 1:
        return x.index_select(1, rows[0])
    index = rows.reshape(*rows.shape, *[1] * (x.dim() - 2)).expand(-1, -1, *x.shape[2:])
    return x.expand(len(rows), *x.shape[1:]).gather(1, index)


def group_logsumexp(x: Float[Tensor, "B m"], group: Int[Tensor, "m"], count: int) -> Float[Tensor, "B n"]:
    """``log sum exp`` of the columns of each of ``count`` non-empty groups."""
    index = group.expand_as(x)
    top = x.new_empty(len(x), count).scatter_reduce_(1, index, x, "amax", include_self=False)
    return top + torch.zeros_like(top).index_add_(1, group, (x - top.index_select(1, group)).exp()).log()
