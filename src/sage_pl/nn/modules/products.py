"""From a history to the items of the largest inner products, in training and in serving."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sage_pl.evaluation.ranks import top_k
from sage_pl.evaluation.rows import products
from sage_pl.nn.modules.histories import HistoryReader
from sage_pl.types import TopK, VectorTable


class ItemProducts(HistoryReader):
    """Ranks items by ``<h_u, v_i>``; see :class:`sage_pl.nn.modules.sequential.SequentialRecommender`."""

    @torch.no_grad()
    def states(self, items: Int[Tensor, "B L"], users: Int[Tensor, "B"] | None = None) -> Float[Tensor, "B *I E"]:
        """The state of each history, or its I states, of which the best one scores an item.

        Args:
            items: histories.
            users: their users, for sequence encoders that read the user's id beside the history; None for unknown ones.
        """
        return self.encode(items, users)[0][:, -1]

    def ranking_table(self) -> VectorTable:
        """The vectors whose inner products with :meth:`states` score the items, [R, E]."""
        raise NotImplementedError

    def item_scores(
        self, items: Int[Tensor, "B L"], users: Int[Tensor, "B"] | None = None
    ) -> Iterator[tuple[slice, Float[Tensor, "b R"]]]:
        return products(self.states(items, users), self.ranking_table())

    def best_items(
        self,
        items: Int[Tensor, "B L"],
        k: int,
        seen: Int[Tensor, "B M"] | None,
        users: Int[Tensor, "B"] | None,
        allowed: Bool[Tensor, "R"] | None,
    ) -> TopK:
        if self.retrieval is not None:
            return self.retrieval.best_items(self.states(items, users), k, seen, allowed)
        return top_k(self.states(items, users), self.ranking_table(), k, seen, allowed=allowed)
