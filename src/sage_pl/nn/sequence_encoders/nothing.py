"""Sequences without states, for rankers that are not trained."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from sage_pl.types import SeqBatch, Views


class NoStates(nn.Module):
    """States of width 0 (:class:`sage_pl.nn.item_encoders.nothing.NoVectors`)."""

    output_dim = 0
    reads = frozenset({"nothing"})

    def forward(
        self, views: Views, mask: Bool[Tensor, "B L"], batch: SeqBatch, last_only: bool = False
    ) -> Float[Tensor, "B K E"]:
        return torch.zeros(len(mask), 1 if last_only else mask.shape[1], 0, device=mask.device)
