"""The items of a step that a loss over items compares."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Int
from torch import Tensor

from sage_pl import processes
from sage_pl.types import PADDING, LossContext


def real_items(ids: Int[Tensor, "..."], mask_token: int) -> Int[Tensor, "M"]:
    """The real items among ``ids``, without padding and mask token (N + 1); duplicates stay."""
    ids = ids.flatten()
    return ids[(ids != PADDING) & (ids != mask_token)]


def compared_items(
    step: LossContext, source: Literal["items", "targets"], unique: bool = True, max_items: int | None = None
) -> Int[Tensor, "M"]:
    """The real items of a step's inputs or targets.

    Args:
        step: with ``unique``, its batch holds ``distinct_items`` or ``distinct_targets``.
        source: ``items`` for the inputs, or ``targets``.
        unique: each item once; False keeps duplicates, whose number depends on the data: on a GPU, this synchronises.
        max_items: more are sampled down to so many; None keeps all.
    """
    batch: dict[str, Tensor] = step.batch  # type: ignore[assignment]
    ids = batch[f"distinct_{source}"] if unique else real_items(batch[source], step.mask_token)
    if max_items is not None and len(ids) > max_items:
        with processes.same_draws():
            ids = ids[torch.randperm(len(ids), device=ids.device)[:max_items]]
    return ids
