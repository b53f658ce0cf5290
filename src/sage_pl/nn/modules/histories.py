"""From a history to its states, in training and in serving."""

from __future__ import annotations

from jaxtyping import Bool, Float, Int
from torch import Tensor

from sage_pl.nn.item_encoders.encoded import EncodedItems
from sage_pl.types import ItemEncoder, SeqBatch, SequenceEncoder, Targets, real


class HistoryReader:
    """The parts of a model that read a history; see :class:`sage_pl.nn.modules.base.RecommenderModule`."""

    item_encoder: ItemEncoder
    sequence_encoder: SequenceEncoder
    targets: Targets
    max_len: int | None

    def encode(
        self, items: Int[Tensor, "B L"], users: Int[Tensor, "B"] | None = None, last_only: bool = True
    ) -> tuple[Float[Tensor, "B K *I E"], Bool[Tensor, "B M"]]:
        """States of histories in inference form, and the mask of their items."""
        ids = self.targets.inference(items if self.max_len is None else items[:, -self.max_len :])
        views = EncodedItems.of(self.item_encoder, [ids], ids.device).inputs(ids)
        batch: SeqBatch = {"items": ids} if users is None else {"items": ids, "user": users}
        return self.sequence_encoder(views, real(ids), batch, last_only=last_only), real(ids)
