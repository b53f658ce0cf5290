"""Further tasks with the same codes: from an item's text, from a history of texts, from a history and a query."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from sage_pl.data.loader import load_sequences
from sage_pl.nn.item_encoders.adapter import Adapter
from sage_pl.nn.item_encoders.item_text import ItemText
from sage_pl.nn.losses.base import LossTerm
from sage_pl.nn.losses.code_groups import CodeGroups
from sage_pl.ranges import Count, Weight, Width
from sage_pl.types import CodeContext, Memory, SeqBatch


class UniformItemsTerm(LossTerm):
    """A loss over distinct items, drawn uniformly: rare ones as often as popular ones.

    Args:
        weight: factor of this loss.
        sequences: path of the ``sequences`` artifact.
        count: items per step, or all where there are fewer.
        trained: leave out the items of no training sequence, so that their texts do not enter training.
    """

    extent = "users"

    def __init__(self, weight: Weight, sequences: str, count: Count = 256, trained: bool = False) -> None:
        super().__init__(weight)
        counts = np.array(load_sequences(sequences).train_counts)
        counts[[0, -1]] = -1
        self.count = count
        self._ids = torch.from_numpy(np.flatnonzero(counts >= trained))

    def draw(self, batch: SeqBatch, epoch: int) -> Int[Tensor, "M"]:
        return self._ids[torch.randperm(len(self._ids))[: self.count]]

    def item_ids(self, batch: SeqBatch) -> list[Int[Tensor, "..."]]:
        return [batch["draws"][self.name]]


class TextToCode(UniformItemsTerm):
    """``-log p(i | g(x_i))``: an item's codes, decoded from its adapted text in place of a state.

    It trains items without a history: they become likely after states that resemble their text.

    Args:
        weight, sequences, count, trained: see :class:`UniformItemsTerm`.
        layer_norm: decode from ``LN(g(x_i))``, without weights, whose length sqrt(D) is that of a backbone's states. An adapted
            text vector is about a tenth as long: next to the states of the recommendation loss its logits are all but equal,
            and the loss stays at ``ln N``.

    Reference: LC-Rec's item2index.
    """

    decodes = True
    reads = frozenset({"text"})

    def __init__(
        self, weight: Weight, sequences: str, count: Count = 256, trained: bool = False, layer_norm: bool = False
    ) -> None:
        super().__init__(weight, sequences, count, trained)
        self.layer_norm = layer_norm

    def chance(self, n_items: int) -> float:
        return math.log(n_items)

    def forward(self, step: CodeContext) -> Float[Tensor, ""]:
        ids = step.batch["draws"][self.name]
        text = _as_long_as_states(step.items.inputs(ids)["text"], self.layer_norm)[:, None]
        memory = Memory(text, torch.ones_like(text[..., 0], dtype=torch.bool))
        return -step.log_probs(memory, ids[:, None]).mean()


class TextsToCode(LossTerm):
    """``-log p(i | h')`` at labelled positions, h' the state of a history that is read as texts alone.

    Args:
        weight: factor of this loss.

    Reference: LC-Rec's fusion task from titles to codes.
    """

    extent = "positions"
    decodes = True
    reads = frozenset({"text"})

    def chance(self, n_items: int) -> float:
        return math.log(n_items)

    def forward(self, step: CodeContext) -> Float[Tensor, ""]:
        ids = step.predictions()[1]
        return -step.log_probs(step.predictions_from("text"), ids[:, None]).sum() / max(len(ids), 1)


class QueryToCode(LossTerm):
    """``-log p(i | h + g(q))`` at labelled positions, q a query for the item.

    Args:
        weight: factor of this loss.
        tokens, n_items: see :class:`sage_pl.nn.item_encoders.code_embedding.CodeEmbedding`.
        dim: width of the states.
        queries: folder of vectors of texts, ``table.npy`` [R, D_query], row i a query for item i, with an adapter of their
            own. None: the query is the text of an item drawn from the target's group (:class:`CodeGroups`), "something like
            this".
        layer_norm: add ``LN(g(q))``, which is as long as the state; see :class:`TextToCode`.

    Reference: LC-Rec's itemsearch, whose queries a larger language model writes.
    """

    extent = "positions"
    decodes = True
    reads = frozenset({"text"})

    def __init__(
        self,
        weight: Weight,
        tokens: str,
        n_items: Count,
        dim: Width = 64,
        queries: str | None = None,
        layer_norm: bool = False,
    ) -> None:
        super().__init__(weight)
        self.layer_norm = layer_norm
        self.groups = CodeGroups(tokens, n_items)
        self.queries = None if queries is None else ItemText(queries, n_items)
        self.adapter = None if self.queries is None else Adapter(self.queries.width, dim)

    def draw(self, batch: SeqBatch, epoch: int) -> Int[Tensor, "B L"] | None:
        """Without vectors of queries, the item whose text is each position's query."""
        return self.groups.draw(batch["targets"]) if self.queries is None else None

    def item_ids(self, batch: SeqBatch) -> list[Int[Tensor, "..."]]:
        return [batch["draws"][self.name]] if self.queries is None else []

    def forward(self, step: CodeContext) -> Float[Tensor, ""]:
        memory, ids = step.predictions()
        if self.queries is None or self.adapter is None:
            query = step.items.inputs(step.batch["draws"][self.name].flatten()[step.batch["labels"]])["text"]
        else:
            query = self.adapter(self.queries(ids))
        query = _as_long_as_states(query, self.layer_norm)
        memory = Memory(memory.vectors + query[:, None], memory.mask)
        return -step.log_probs(memory, ids[:, None]).sum() / max(len(ids), 1)


def _as_long_as_states(text: Float[Tensor, "M D"], layer_norm: bool) -> Float[Tensor, "M D"]:
    return F.layer_norm(text, text.shape[-1:]) if layer_norm else text
