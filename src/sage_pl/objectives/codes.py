"""Cross-entropy of the codes of the next item: what a generator is trained with."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor, nn

from sage_pl.types import CodeContext, SeqBatch


class CodeCrossEntropy(nn.Module):
    """``-log p(i | h)``, the sum over the levels of the cross-entropy of the code; mean over labelled positions.

    The sequential task, and every generator's recommendation loss.

    Args:
        weight: factor of this loss.

    Relations: with ``decoder.normalise=children`` a softmax over the catalogue, made of one softmax per code.
    """

    decodes = True
    needs = frozenset[str]()
    reads = frozenset[str]()
    catalogue = False

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = weight

    def item_ids(self, batch: SeqBatch) -> list[Int[Tensor, "..."]]:
        return []

    def forward(self, step: CodeContext) -> Float[Tensor, ""]:
        memory, ids = step.predictions()
        return -step.log_probs(memory, ids[:, None]).sum() / max(len(ids), 1)
