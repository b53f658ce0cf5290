"""Cross-entropy of the codes of the next item: the objective of models that decode items."""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float
from torch import Tensor

from sage_pl.nn.objectives.base import Objective
from sage_pl.ranges import Weight
from sage_pl.types import CodeContext


class CodeCrossEntropy(Objective):
    """``-log p(i | h)``, the sum over the levels of the cross-entropy of the code; mean over labelled positions.

    Args:
        sequences: path of the ``sequences`` artifact, for the training counts.
        candidates: ``trained`` leaves codes that lead only to items without training events out of the softmax, as the
            objectives over items do; ``all`` includes them, and lowers fewer scores here, since items share codes. Without
            effect under ``decoder.normalise=codes``.
        weight: factor of this loss.

    Relations: with ``decoder.normalise=children`` a softmax over the catalogue, made of one softmax per code.
    """

    decodes = True

    def __init__(self, sequences: str, candidates: Literal["trained", "all"] = "all", weight: Weight = 1.0) -> None:
        super().__init__(sequences, candidates, weight)
        self.trained = candidates == "trained"

    def forward(self, step: CodeContext) -> Float[Tensor, ""]:
        memory, ids = step.predictions()
        among = self.candidate_ids if self.trained else None
        return -step.log_probs(memory, ids[:, None], among).sum() / max(len(ids), 1)
