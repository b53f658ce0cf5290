"""A user is nearer to the next item than that item is to another one."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from sage_pl.nn.item_encoders.gaussian import deviations
from sage_pl.nn.losses.base import LossTerm
from sage_pl.nn.objectives.base import states_and_targets
from sage_pl.ranges import Count, Weight
from sage_pl.types import LossContext, SeqBatch


class DistanceMargin(LossTerm):
    """``mean max(0, D(u, j+) - D(j+, j-))`` over labelled positions, D the squared distance of distributions.

    Args:
        weight: lambda in the paper.
        n_items: N; j- is drawn uniformly, and left out where it is j+.

    Needs: items and states of :mod:`sage_pl.nn.item_encoders.gaussian`, whose inner product is ``-D(u, j)``.
    Reference: STOSA (Fan et al. 2022), section 3.3. Differs: a negative of its own; the paper has that of the ranking loss.
    """

    extent = "positions"
    reads = frozenset({"mean", "covariance"})

    def __init__(self, weight: Weight, n_items: Count) -> None:
        super().__init__(weight)
        self.n_items = n_items

    def draw(self, batch: SeqBatch, epoch: int) -> Int[Tensor, "B L"]:
        return torch.randint_like(batch["targets"], 1, self.n_items + 1)

    def item_ids(self, batch: SeqBatch) -> list[Int[Tensor, "..."]]:
        return [batch["targets"], batch["draws"][self.name]]

    def forward(self, step: LossContext) -> Float[Tensor, ""]:
        hidden, targets = states_and_targets(step)
        negatives = step.batch["draws"][self.name].flatten()[step.batch["labels"]]
        positive, negative = (deviations(step.items.inputs(ids)) for ids in (targets, negatives))
        near = -(hidden * step.items.outputs(targets)).sum(1)
        losses = F.relu(near - (positive - negative).square().sum(1)) * (targets != negatives)
        return losses.sum() / max(len(targets), 1)
