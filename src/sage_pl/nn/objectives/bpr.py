"""Pairwise ranking: the next item before one that was not chosen."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from sage_pl.nn.objectives.base import states_and_targets
from sage_pl.nn.objectives.bce import BCE
from sage_pl.types import LossContext


class BPR(BCE):
    """``mean -log sigma(s+ - s-)``, one negative per position, drawn as in :class:`sage_pl.nn.objectives.bce.BCE`.

    Args:
        sequences, candidates, weight: see :class:`sage_pl.nn.objectives.base.Objective`.

    Reference: Rendle et al. 2009; STOSA's loss, whose scores are negative distances.
    """

    def forward(self, step: LossContext) -> Float[Tensor, ""]:
        hidden, targets = states_and_targets(step)
        negatives = step.batch["draws"][self.name].flatten()[step.batch["labels"]]
        gaps = (hidden * (step.items.outputs(targets) - step.items.outputs(negatives))).sum(1)
        return -F.logsigmoid(gaps).sum() / max(len(targets), 1)
