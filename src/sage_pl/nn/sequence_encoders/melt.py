"""MELT: states of short histories, enhanced when predicting."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from sage_pl.nn.sequence_encoders.single import SingleView
from sage_pl.ranges import Count, Width
from sage_pl.types import Backbone, SeqBatch, Views


class EnhancedUsers(SingleView):
    """``h + W_U h`` for histories of fewer than ``short`` items when predicting, h the backbone's state; h for all others.

    In training every state is h. W_U, an affine map, is trained by :class:`sage_pl.nn.losses.melt.UserBranch`.

    Args:
        backbone: the sequence model.
        short: the items from which on a history is long.
        view: the view of the items that is read.
        zero_start: W_U starts at zero, so that the model predicts as its backbone at first; False: Xavier, as published.

    Reference: MELT (Kim et al. 2023), section 4.3.
    """

    def __init__(self, backbone: Backbone, short: Count, view: str = "id", zero_start: bool = True) -> None:
        super().__init__(backbone, view)
        self.short = short
        self.enhance = branch_map(backbone.dim, zero_start)

    def forward(
        self, views: Views, mask: Bool[Tensor, "B L"], batch: SeqBatch, last_only: bool = False
    ) -> Float[Tensor, "B K E"]:
        states = super().forward(views, mask, batch, last_only)
        if self.training:
            return states
        masked = batch.get("masked")
        items = mask if masked is None else mask & ~masked
        enhanced = states + self.enhance(states)
        return torch.where((items.sum(1) < self.short)[:, None, None], enhanced, states)


def branch_map(dim: Width, zero_start: bool) -> nn.Linear:
    """An affine map of width D, from zero or from Xavier's normal start, without bias at the start."""
    layer = nn.Linear(dim, dim)
    nn.init.zeros_(layer.bias)
    if zero_start:
        nn.init.zeros_(layer.weight)
    else:
        nn.init.xavier_normal_(layer.weight)
    return layer
