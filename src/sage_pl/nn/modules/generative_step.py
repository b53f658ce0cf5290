"""The losses' view of one training step of a model that decodes items."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from sage_pl.nn.decoders.item_decoder import ItemDecoder
from sage_pl.nn.modules.searching import memory
from sage_pl.nn.modules.step import TrainingStep
from sage_pl.types import Memory, real


@dataclass
class GenerativeStep(TrainingStep):
    """A step with a decoder; implements :class:`sage_pl.types.CodeContext`."""

    decoder: ItemDecoder

    def predictions(self) -> tuple[Memory, Int[Tensor, "M"]]:
        return self._at_labels(self.hidden), self.batch["targets"].flatten()[self.batch["labels"]]

    def predictions_from(self, view: str) -> Memory:
        ids = self.batch["items"]
        vectors = self.items.inputs(ids)[view]
        views = dict.fromkeys(self.sequence_encoder.reads, vectors)
        return self._at_labels(self.sequence_encoder(views, real(ids), self.batch))

    def log_probs(
        self, memory: Memory, ids: Int[Tensor, "M K"], among: Int[Tensor, "C"] | None = None
    ) -> Float[Tensor, "M K"]:
        return self.decoder.log_probs(memory, ids, among)

    def _at_labels(self, hidden: Float[Tensor, "B K E"]) -> Memory:
        labels, width = self.batch["labels"], self.batch["items"].shape[1]
        mask = real(self.batch["items"])
        return memory(hidden, mask, labels // width, labels % width, self.decoder.network.whole)
