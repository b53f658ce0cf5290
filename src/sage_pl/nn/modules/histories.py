"""From a history to its states, in training and in serving."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sage_pl.evaluation.rows import row_top_k
from sage_pl.nn.item_encoders.encoded import EncodedItems
from sage_pl.types import ItemEncoder, Scorer, SeqBatch, SequenceEncoder, Targets, TopK, VectorTable, real


class Retrieval(Protocol):
    """Finds items of large inner products without scoring all."""

    def best_items(
        self,
        states: Float[Tensor, "B *I E"],
        k: int,
        seen: Int[Tensor, "B M"] | None = None,
        allowed: Bool[Tensor, "R"] | None = None,
    ) -> TopK: ...

    def append(self, table: VectorTable) -> None:
        """The items of a longer table."""
        ...


class HistoryReader:
    """The parts of a model that read a history; see :class:`sage_pl.nn.modules.base.RecommenderModule`."""

    item_encoder: ItemEncoder
    sequence_encoder: SequenceEncoder
    targets: Targets
    max_len: int | None
    scorer: Scorer | None  # changes the scores of all items before they rank
    retrieval: Retrieval | None = None  # of models that rank by inner products; None scores every item

    def read(self, items: Int[Tensor, "B L"]) -> Int[Tensor, "B M"]:
        """The newest ``max_len`` items of histories."""
        return items if self.max_len is None else items[:, -self.max_len :]

    def encode(
        self, items: Int[Tensor, "B L"], users: Int[Tensor, "B"] | None = None, last_only: bool = True
    ) -> tuple[Float[Tensor, "B K *I E"], Bool[Tensor, "B M"]]:
        """States of histories in inference form, and the mask of their items."""
        ids = self.targets.inference(self.read(items))
        views = EncodedItems.of(self.item_encoder, [ids], ids.device).inputs(ids)
        batch: SeqBatch = {"items": ids, "masked": ids == self.item_encoder.n_items + 1}
        if users is not None:
            batch["user"] = users
        return self.sequence_encoder(views, real(ids), batch, last_only=last_only), real(ids)

    def item_scores(
        self, items: Int[Tensor, "B L"], users: Int[Tensor, "B"] | None = None
    ) -> Iterator[tuple[slice, Float[Tensor, "b R"]]]:
        """The model's own scores of every item, for runs of users; columns 0 and N + 1 hold no scores."""
        raise NotImplementedError

    def scored(
        self, items: Int[Tensor, "B L"], users: Int[Tensor, "B"] | None = None
    ) -> Iterator[tuple[slice, Float[Tensor, "b R"]]]:
        """The scores that rank: those of :meth:`item_scores` as the scorer changes them."""
        if self.scorer is None:
            raise RuntimeError("this model has no scorer")
        history = self.read(items)
        for rows, scores in self.item_scores(items, users):
            with torch.autocast(scores.device.type, enabled=False):  # its numbers were chosen in full precision
                ranked = self.scorer(scores, history[rows], None if users is None else users[rows])
            yield rows, ranked

    def recommend(
        self,
        items: Int[Tensor, "B L"],
        k: int,
        exclude_seen: bool = True,
        users: Int[Tensor, "B"] | None = None,
        allowed: Bool[Tensor, "R"] | None = None,
    ) -> TopK:
        """The k best items after each history, with their scores; see :class:`sage_pl.types.Recommender`.

        With a scorer every item is scored, so the list is exact.
        """
        seen = items if exclude_seen else None
        if self.scorer is not None:
            return row_top_k(self.scored(items, users), k, seen, allowed)
        return self.best_items(items, k, seen, users, allowed)

    def best_items(
        self,
        items: Int[Tensor, "B L"],
        k: int,
        seen: Int[Tensor, "B M"] | None,
        users: Int[Tensor, "B"] | None,
        allowed: Bool[Tensor, "R"] | None,
    ) -> TopK:
        """The k best items by the model's own scores, of those that ``allowed`` marks, without the ids ``seen``."""
        raise NotImplementedError
