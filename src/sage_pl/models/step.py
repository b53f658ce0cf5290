"""One training step as the losses see it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sage_pl.item_encoders.table import EncodedItems
from sage_pl.types import ItemEncoder, ItemTable, LossTerm, SeqBatch, SequenceEncoder, Targets, real


def presented(batch: SeqBatch, targets: Targets) -> SeqBatch:
    """A training batch as the model reads it: inputs, labels, and where the labels are.

    Done before a batch is moved to an accelerator, which then never has to be asked how many labels there are.
    """
    batch = targets.training(batch)
    return {**batch, "labels": batch["targets"].flatten().nonzero().squeeze(1)}


@dataclass
class TrainingStep:
    """The encoded items and sequences of one batch; implements :class:`sage_pl.types.LossContext`."""

    batch: SeqBatch
    items: ItemTable
    hidden: Float[Tensor, "B L *I E"]
    sequence_encoder: SequenceEncoder
    targets: Targets
    mask_token: int

    @classmethod
    def run(
        cls,
        batch: SeqBatch,
        item_encoder: ItemEncoder,
        sequence_encoder: SequenceEncoder,
        targets: Targets,
        terms: Iterable[LossTerm],
    ) -> TrainingStep:
        """Encode every item the step needs once, then every sequence; ``batch`` as it was loaded, or presented already."""
        batch = batch if "labels" in batch else presented(batch, targets)
        ids, device = batch["items"], batch["items"].device
        wanted = [tensor for term in terms for tensor in term.item_ids(batch)]
        if any(term.catalogue for term in terms):
            items = EncodedItems(item_encoder, None, device)
        else:
            items = EncodedItems.of(item_encoder, [ids, *wanted], device)
        hidden = sequence_encoder(items.inputs(ids), real(ids), batch)
        return cls(batch, items, hidden, sequence_encoder, targets, item_encoder.n_items + 1)

    def user_states(self) -> Float[Tensor, "B E"]:
        if self.hidden.ndim == 4:
            raise ValueError(
                "a loss term reads the one state of a user, who has several here; use sequence_encoder.readout=mean, or leave "
                "that term out"
            )
        return self.hidden[self.batch["state_rows"], -1]

    @torch.no_grad()
    def encode(self, items: Int[Tensor, "M L"]) -> Float[Tensor, "M E"]:
        ids = self.targets.inference(items)
        self.sequence_encoder.eval()
        states = self.sequence_encoder(self.items.inputs(ids), real(ids), {"items": ids}, last_only=True)[:, -1]
        self.sequence_encoder.train()
        return states
