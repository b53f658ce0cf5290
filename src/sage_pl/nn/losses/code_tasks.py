"""Further ways to the same codes: from an item's text, from a history of texts, from a history and a query."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sage_pl.data.loader import load_sequences
from sage_pl.nn.item_encoders.adapter import Adapter
from sage_pl.nn.item_encoders.vectors import ItemText
from sage_pl.nn.losses.code_groups import CodeGroups
from sage_pl.types import CodeContext, Memory, SeqBatch


class UniformItems(nn.Module):
    """Distinct items, drawn anew for every step, rare ones as often as popular ones.

    Args:
        sequences: path of the ``sequences`` artifact.
        count: items per step, or all where there are fewer.
        trained: leave out the items that no training sequence holds; what is known of them otherwise enters training
            before anybody touched them (by their text alone).
    """

    def __init__(self, sequences: str, count: int, trained: bool) -> None:
        super().__init__()
        counts = np.array(load_sequences(sequences).train_counts)
        counts[[0, -1]] = -1
        self.count = count
        self.register_buffer("ids", torch.from_numpy(np.flatnonzero(counts >= trained)), persistent=False)
        self.ids: Tensor

    def draw(self) -> Int[Tensor, "M"]:
        return self.ids[torch.randperm(len(self.ids), device=self.ids.device)[: self.count]]


class TextToCode(nn.Module):
    """``-log p(i | g(x_i))``: an item's codes, decoded from its adapted text in place of a state.

    What an item without a history learns by: once decoded from its text, it can follow from any state like that.

    Args:
        weight: factor of this loss.
        sequences, count, trained: see :class:`UniformItems`.

    Reference: LC-Rec's item2index.
    """

    decodes = True
    needs = frozenset[str]()
    reads = frozenset({"text"})
    catalogue = False

    def __init__(self, weight: float, sequences: str, count: int = 256, trained: bool = False) -> None:
        super().__init__()
        self.weight = weight
        self.items = UniformItems(sequences, count, trained)

    def item_ids(self, batch: SeqBatch) -> list[Int[Tensor, "..."]]:
        self._drawn = self.items.draw()
        return [self._drawn]

    def forward(self, step: CodeContext) -> Float[Tensor, ""]:
        text = step.items.inputs(self._drawn)["text"][:, None]
        memory = Memory(text, torch.ones_like(text[..., 0], dtype=torch.bool))
        return -step.log_probs(memory, self._drawn[:, None]).mean()


class TextsToCode(nn.Module):
    """``-log p(i | h')`` at labelled positions, h' the state of a history that is read as texts alone.

    Args:
        weight: factor of this loss.

    Reference: LC-Rec's fusion task from titles to codes.
    """

    decodes = True
    needs = frozenset[str]()
    reads = frozenset({"text"})
    catalogue = False

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = weight

    def item_ids(self, batch: SeqBatch) -> list[Int[Tensor, "..."]]:
        return []

    def forward(self, step: CodeContext) -> Float[Tensor, ""]:
        ids = step.predictions()[1]
        return -step.log_probs(step.predictions_from("text"), ids[:, None]).sum() / max(len(ids), 1)


class QueryToCode(nn.Module):
    """``-log p(i | h + g(q))`` at labelled positions, q what the user asks for.

    Args:
        weight: factor of this loss.
        tokens, n_items: see :class:`sage_pl.nn.item_encoders.code_embedding.CodeEmbedding`.
        dim: width of the states.
        queries: folder of vectors of written queries, ``table.npy`` [R, D_query], row i asking for item i; they get an
            adapter of their own. None asks by the text of an item drawn among those with the same first code, the target itself
            included: "something like this".

    Reference: LC-Rec's itemsearch, whose queries a larger language model writes.
    """

    decodes = True
    needs = frozenset[str]()
    reads = frozenset({"text"})
    catalogue = False

    def __init__(self, weight: float, tokens: str, n_items: int, dim: int = 64, queries: str | None = None) -> None:
        super().__init__()
        self.weight = weight
        self.groups = CodeGroups(tokens, n_items)
        self.queries = None if queries is None else ItemText(queries, n_items)
        self.adapter = None if self.queries is None else Adapter(self.queries.width, dim)

    def item_ids(self, batch: SeqBatch) -> list[Int[Tensor, "..."]]:
        if self.queries is not None:
            return []
        self._asked = self.groups.draw(batch["targets"])
        return [self._asked]

    def forward(self, step: CodeContext) -> Float[Tensor, ""]:
        memory, ids = step.predictions()
        if self.queries is None or self.adapter is None:
            query = step.items.inputs(self._asked.flatten()[step.batch["labels"]])["text"]
        else:
            query = self.adapter(self.queries(ids))
        asked = Memory(memory.vectors + query[:, None], memory.mask)
        return -step.log_probs(asked, ids[:, None]).sum() / max(len(ids), 1)
