"""Binary cross-entropy with one negative per labelled position, the references' objective."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from sage_pl.nn.objectives.base import Objective, states_and_targets
from sage_pl.types import LossContext, SeqBatch


class BCE(Objective):
    """``mean -log sigma(s+) + mean -log(1 - sigma(s-))``, one negative per position, uniform over items not in the
    user's sequence.

    A negative of the sequence is redrawn up to eight times, so one remains only where a user has most of the candidates.
    For parity with the SAGE reference; softmax is far better under full ranking.

    Args:
        sequences, candidates, weight: see :class:`Objective`; the reference draws from all items.
    """

    def draw(self, batch: SeqBatch, epoch: int) -> Int[Tensor, "B L"]:
        """A negative per target."""
        targets = batch["targets"]
        sequence = batch["user_items"] if "user_items" in batch else torch.cat([batch["items"], targets], dim=1)
        negatives = self.draw_candidates(targets.shape)
        for _ in range(8):
            clash = (negatives[..., None] == sequence[:, None, :]).any(-1)
            if not clash.any():
                break
            negatives = torch.where(clash, self.draw_candidates(targets.shape), negatives)
        return torch.where(targets > 0, negatives, 0)

    def item_ids(self, batch: SeqBatch) -> list[Int[Tensor, "..."]]:
        return [batch["targets"], batch["draws"][self.name]]

    def forward(self, step: LossContext) -> Float[Tensor, ""]:
        hidden, targets = states_and_targets(step)
        negatives = step.batch["draws"][self.name].flatten()[step.batch["labels"]]
        positive = (hidden * step.items.outputs(targets)).sum(1)
        negative = (hidden * step.items.outputs(negatives)).sum(1)
        return -(F.logsigmoid(positive) + F.logsigmoid(-negative)).sum() / max(len(targets), 1)
