"""Cross-entropy of the codes of the next item: what a generator is trained with."""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float
from torch import Tensor

from sage_pl.nn.objectives.base import Objective
from sage_pl.types import CodeContext


class CodeCrossEntropy(Objective):
    """``-log p(i | h)``, the sum over the levels of the cross-entropy of the code; mean over labelled positions.

    The sequential task, and every generator's recommendation loss.

    Args:
        sequences: path of the ``sequences`` artifact, for the training counts.
        candidates: ``all``, or ``trained``, which leaves codes that lead only to items without training events out of the
            softmax, as the objectives over items do; such codes are often shared, so ``all`` lowers fewer scores here.
            Without effect under ``decoder.normalise=codes``.
        weight: factor of this loss.

    Relations: with ``decoder.normalise=children`` a softmax over the catalogue, made of one softmax per code.
    """

    decodes = True

    def __init__(self, sequences: str, candidates: Literal["trained", "all"] = "all", weight: float = 1.0) -> None:
        super().__init__(sequences, candidates, weight)
        self.trained = candidates == "trained"

    def forward(self, step: CodeContext) -> Float[Tensor, ""]:
        memory, ids = step.predictions()
        among = self.candidate_ids if self.trained else None
        return -step.log_probs(memory, ids[:, None], among).sum() / max(len(ids), 1)
