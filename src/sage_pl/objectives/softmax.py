"""Softmax cross-entropy over the catalogue."""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float
from torch import Tensor

from sage_pl.objectives.base import Objective, labelled
from sage_pl.objectives.linear_cross_entropy import linear_cross_entropy
from sage_pl.types import LossContext


class Softmax(Objective):
    """``-log softmax_i(<h, v_i>)[target]``, mean over labelled positions, every candidate item in the denominator.

    The strongest objective at up to about 50,000 items, and of the exact ones the cheapest: on Beauty it lifts SASRec's
    NDCG@10 by 69 % over one-negative BCE (five-seed logs of MTandHJ/CE-SCE-LLMRec).

    Args:
        sequences, candidates, weight: see :class:`Objective`.
        block: positions whose logits are held at once; bounds memory to ``block`` x R numbers.
    """

    catalogue = True

    def __init__(
        self,
        sequences: str,
        candidates: Literal["trained", "all"] = "trained",
        weight: float = 1.0,
        block: int = 256,
    ) -> None:
        super().__init__(sequences, candidates, weight)
        self.block = block

    def forward(self, step: LossContext) -> Float[Tensor, ""]:
        hidden, targets = labelled(step)
        return linear_cross_entropy(hidden, step.items.all_outputs(), targets, self.excluded, self.block)
