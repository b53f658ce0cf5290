"""Softmax cross-entropy over the catalogue."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from sage_pl.objectives.base import Objective, labelled
from sage_pl.objectives.linear_cross_entropy import linear_cross_entropy
from sage_pl.types import LossContext

_TYPES = {"float32": None, "bfloat16": torch.bfloat16}


class Softmax(Objective):
    """``-log softmax_i(<h, v_i>)[target]``, mean over labelled positions, every candidate item in the denominator.

    The strongest objective at up to about 50,000 items, and of the exact ones the cheapest: on Beauty it lifts SASRec's
    NDCG@10 by 69 % over one-negative BCE (five-seed logs of MTandHJ/CE-SCE-LLMRec).

    Args:
        sequences, candidates, weight: see :class:`Objective`.
        memory_mb: memory for logits, in MiB: as many positions are scored at once as fit into it, at least one.
        products: ``float32``, or ``bfloat16`` for faster products with the catalogue, see :func:`linear_cross_entropy`.
    """

    catalogue = True

    def __init__(
        self,
        sequences: str,
        candidates: Literal["trained", "all"] = "trained",
        weight: float = 1.0,
        memory_mb: float = 16.0,
        products: Literal["float32", "bfloat16"] = "float32",
    ) -> None:
        super().__init__(sequences, candidates, weight)
        if products not in _TYPES:
            raise ValueError(f"products is {products!r}, wanted one of {', '.join(_TYPES)}")
        self.products = _TYPES[products]
        self.block = int(memory_mb * 2**20 / (4 * len(self.excluded)))

    def forward(self, step: LossContext) -> Float[Tensor, ""]:
        hidden, targets = labelled(step)
        return linear_cross_entropy(hidden, step.items.all_outputs(), targets, self.excluded, self.block, self.products)
