"""The losses' view of one training step of a model that decodes items."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sage_pl.nn.decoders.item_decoder import ItemDecoder
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


def memory(
    hidden: Float[Tensor, "B K E"],
    mask: Bool[Tensor, "B L"],
    rows: Int[Tensor, "M"],
    columns: Int[Tensor, "M"],
    whole: bool,
) -> Memory:
    """The states from which items are decoded: those at the positions, or with ``whole`` all states of their rows.

    Args:
        hidden: states; K = L, or a multiple of it where an item is read as several tokens.
        mask: True on real items.
        rows, columns: the positions.
        whole: see :class:`sage_pl.types.DecoderNetwork`.
    """
    if whole:
        return Memory(hidden[rows], mask.repeat_interleave(hidden.shape[1] // mask.shape[1], 1)[rows])
    states = hidden[rows, columns][:, None]
    return Memory(states, torch.ones_like(states[..., 0], dtype=torch.bool))
