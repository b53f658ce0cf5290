"""Negative sampling over strings of codes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from sage_pl.nn.losses.base import LossTerm
from sage_pl.nn.losses.code_groups import CodeGroups
from sage_pl.ranges import Count, Natural, Weight
from sage_pl.types import CodeContext, Memory, SeqBatch


class CodeNegatives(LossTerm):
    """``-log sigma((s+ - s-) / T)`` with s the log-probability of an item's T codes: the next item against four others, two of
    them with its first code; mean over positions and negatives.

    Args:
        weight: factor of this loss.
        tokens, n_items: see :class:`sage_pl.nn.item_encoders.code_embedding.CodeEmbedding`.
        after: first epoch, from 0, in which the term counts; before, it is 0 without draws or cost.
        max_positions: positions compared in one step; more are sampled down.

    Reference: the tasks with negative samples of Semantic Convergence, whose form is not published.
    """

    decodes = True

    def __init__(
        self, weight: Weight, tokens: str, n_items: Count, after: Natural = 2, max_positions: Count = 512
    ) -> None:
        super().__init__(weight)
        self.n_items = n_items
        self.after = after
        self.max_positions = max_positions
        self.groups = CodeGroups(tokens, n_items)

    def draw(self, batch: SeqBatch, epoch: int) -> Int[Tensor, "M 5"] | None:
        """The number of a labelled position and its four negatives, for each compared position."""
        if epoch < self.after:
            return None
        rows = torch.randperm(len(batch["labels"]))[: self.max_positions, None]
        return torch.cat([rows, self.negatives(batch["targets"].flatten()[batch["labels"]][rows])], 1)

    def forward(self, step: CodeContext) -> Float[Tensor, ""]:
        memory, ids = step.predictions()
        if self.name not in step.batch["draws"]:
            return memory.vectors.new_zeros(())
        rows, negatives = step.batch["draws"][self.name].tensor_split([1], 1)
        rows, ids = rows[:, 0], ids[rows]
        scores = step.log_probs(Memory(memory.vectors[rows], memory.mask[rows]), torch.cat([ids, negatives], 1))
        losses = F.softplus((scores[:, 1:] - scores[:, :1]) / self.groups.levels)
        real = negatives != ids
        return (losses * real).sum() / real.sum().clamp(min=1)

    def negatives(self, ids: Int[Tensor, "M 1"]) -> Int[Tensor, "M 4"]:
        """Two items out of all and two of the same group; the loss leaves out those that equal the positive."""
        anywhere = torch.randint(1, self.n_items + 1, (len(ids), 2))
        return torch.cat([anywhere, self.groups.draw(ids.expand(-1, 2))], 1)
