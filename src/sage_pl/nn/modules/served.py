"""Models that serve: the parts of an exported folder, without what trains them."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sage_pl.nn.decoders.item_decoder import ItemDecoder
from sage_pl.nn.item_encoders.cached import CachedItems
from sage_pl.nn.modules.histories import HistoryReader
from sage_pl.nn.modules.products import ItemProducts
from sage_pl.nn.modules.searching import ItemSearch
from sage_pl.ranges import Length
from sage_pl.types import Scorer, SequenceEncoder, Targets, Views


class Served(HistoryReader, nn.Module):
    """What every served model has.

    Args:
        item_encoder: the tables of the folder.
        sequence_encoder, targets, max_len, scorer: as in training (:class:`sage_pl.nn.modules.base.RecommenderModule`).

    Attributes:
        stored: plain values that identify the model.
    """

    item_encoder: CachedItems

    def __init__(
        self,
        item_encoder: CachedItems,
        sequence_encoder: SequenceEncoder,
        targets: Targets,
        max_len: Length | None,
        scorer: Scorer | None = None,
    ) -> None:
        super().__init__()
        self.scorer = scorer
        self.stored: dict[str, Any] = {}
        self.item_encoder = item_encoder
        self.sequence_encoder = sequence_encoder
        self.targets = targets
        self.max_len = max_len

    @property
    def device(self) -> torch.device:
        return self.output_table().device

    def output_table(self) -> Float[Tensor, "R E"]:
        """Every item's scored vector."""
        return self.item_encoder.get_buffer("table_output")

    def cache_item_vectors(self) -> None:
        """Nothing is computed: the vectors are a table."""


class ServedProducts(ItemProducts, Served):
    """Serves what :class:`sage_pl.nn.modules.sequential.SequentialRecommender` trained."""

    def ranking_table(self) -> Float[Tensor, "R E"]:
        return self.output_table()

    def append_rows(self, rows: Views, text: Float[Tensor, "M D"]) -> None:
        """See :meth:`sage_pl.nn.modules.sequential.SequentialRecommender.append_rows`."""
        self.item_encoder = self.item_encoder.with_new(rows)
        self.targets = self.targets.of_items(self.item_encoder.n_items)
        if self.scorer is not None:
            self.scorer.append(text)
        if self.retrieval is not None:
            self.retrieval.append(self.ranking_table())


class ServedCodes(ItemSearch, Served):
    """Serves what :class:`sage_pl.nn.modules.generative.GenerativeRecommender` trained.

    Args:
        decoder: from states to items.
        item_encoder, sequence_encoder, targets, max_len, scorer: see :class:`Served`.
    """

    def __init__(
        self,
        item_encoder: CachedItems,
        sequence_encoder: SequenceEncoder,
        targets: Targets,
        decoder: ItemDecoder,
        max_len: Length | None,
        scorer: Scorer | None = None,
    ) -> None:
        super().__init__(item_encoder, sequence_encoder, targets, max_len, scorer)
        self.decoder = decoder


SERVED = {  # what trains -> what serves
    "sage_pl.nn.modules.sequential.SequentialRecommender": "sage_pl.nn.modules.served.ServedProducts",
    "sage_pl.nn.modules.generative.GenerativeRecommender": "sage_pl.nn.modules.served.ServedCodes",
}
