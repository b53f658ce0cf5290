"""The inverse tasks: from codes, or from a history, to the text of an item."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from sage_pl import processes
from sage_pl.nn.losses.base import LossTerm
from sage_pl.nn.losses.code_tasks import UniformItemsTerm
from sage_pl.nn.losses.contrastive import InfoNCE
from sage_pl.ranges import Count, Temperature, Weight
from sage_pl.types import CodeContext, SeqBatch


class CodeToText(UniformItemsTerm):
    """:class:`InfoNCE` of ``sum_t E_t[c_{i,t}]`` and ``g(x_i)``: the sum of an item's codes against the adapted texts of the
    step's items, both ways.

    Args:
        weight, sequences, count, trained: see :class:`sage_pl.nn.losses.code_tasks.UniformItemsTerm`.
        temperature: of the cosines.

    Reference: LC-Rec's index2item, which writes the title instead.
    """

    reads = frozenset({"codes", "text"})

    def __init__(
        self, weight: Weight, sequences: str, count: Count = 256, trained: bool = False, temperature: Temperature = 0.1
    ) -> None:
        super().__init__(weight, sequences, count, trained)
        self.temperature = temperature

    def forward(self, step: CodeContext) -> Float[Tensor, ""]:
        views = step.items.inputs(step.batch["draws"][self.name])
        return InfoNCE()(views["codes"], views["text"], self.temperature)


class StateToText(LossTerm):
    """``-log softmax_j(cos(h, g(x_j)) / τ)[i]`` over the items j that labelled positions of the step predict: a state against
    the adapted text of its next item. Other positions that predict i are masked out.

    Args:
        weight: factor of this loss.
        temperature: τ.
        max_positions: positions compared in one step; more are sampled down, since cost grows with their square.

    Reference: LC-Rec's fusion task from codes to titles.
    """

    decodes = True
    reads = frozenset({"text"})

    def __init__(self, weight: Weight, temperature: Temperature = 0.1, max_positions: Count = 512) -> None:
        super().__init__(weight)
        self.temperature = temperature
        self.max_positions = max_positions

    def item_ids(self, batch: SeqBatch) -> list[Int[Tensor, "..."]]:
        return [batch["targets"]]

    def forward(self, step: CodeContext) -> Float[Tensor, ""]:
        memory, ids = step.predictions()
        with processes.same_draws():
            rows = torch.randperm(len(ids), device=ids.device)[: self.max_positions]
        states, ids = memory.vectors[rows, -1], ids[rows]
        texts = step.items.inputs(ids)["text"]
        scores = F.normalize(states, dim=1) @ F.normalize(texts, dim=1).T / self.temperature
        diagonal = torch.arange(len(ids), device=ids.device)
        copies = (ids[:, None] == ids) & (diagonal[:, None] != diagonal)
        losses = F.cross_entropy(scores.masked_fill(copies, -torch.inf), diagonal, reduction="none")
        return losses.sum() / max(len(ids), 1)
