"""Softmax against uniformly drawn negatives that the whole batch shares."""

from __future__ import annotations

import math
from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from sage_pl.nn.objectives.base import Objective, states_and_targets
from sage_pl.ranges import Count, Weight
from sage_pl.types import LossContext, SeqBatch


class SampledSoftmax(Objective):
    """``-log( e^{s+} / (e^{s+} + sum_j e^{s_j + log(n / K)}) )`` with K negatives j uniform over the n candidate items.

    The shift makes the sum an unbiased estimate of the full one. Negatives that equal the target are left out. The batch
    shares its negatives, so scoring them is one matrix product, whose cost does not grow with the catalogue.

    Args:
        sequences, candidates, weight: see :class:`Objective`.
        negatives: K.

    Reference: Klenitskiy and Vasilev 2023 train SASRec so, without the shift.
    """

    def __init__(
        self,
        sequences: str,
        candidates: Literal["trained", "all"] = "trained",
        weight: Weight = 1.0,
        negatives: Count = 512,
    ) -> None:
        super().__init__(sequences, candidates, weight)
        self.negatives = negatives

    def draw(self, batch: SeqBatch, epoch: int) -> Int[Tensor, "K"]:
        """The negatives of all targets."""
        return self.draw_candidates([self.negatives])

    def item_ids(self, batch: SeqBatch) -> list[Int[Tensor, "..."]]:
        return [batch["targets"], batch["draws"][self.name]]

    def forward(self, step: LossContext) -> Float[Tensor, ""]:
        (hidden, targets), negatives = states_and_targets(step), step.batch["draws"][self.name]
        positive = (hidden * step.items.outputs(targets)).sum(1, keepdim=True)
        scores = hidden @ step.items.outputs(negatives).T + math.log(len(self.candidate_ids) / self.negatives)
        scores = scores.masked_fill(negatives == targets[:, None], float("-inf"))
        losses = F.logsigmoid(positive - scores.logsumexp(1, keepdim=True))
        return -losses.sum() / max(len(targets), 1)
