"""The losses' view of one training step, and the batch it reads."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sage_pl.errors import SettingError
from sage_pl.nn.item_encoders.encoded import EncodedItems
from sage_pl.nn.losses.base import LossTerm
from sage_pl.nn.losses.items import real_items
from sage_pl.nn.modules.gathering import in_parts
from sage_pl.types import ItemEncoder, ItemTable, SeqBatch, SequenceEncoder, Targets, real

# computed from the key beside each, for the losses that need them
DISTINCT = {"distinct_items": "items", "distinct_targets": "targets"}


def prepare_batch(
    batch: SeqBatch, targets: Targets, terms: Collection[LossTerm], mask_token: int, epoch: int = 0
) -> SeqBatch:
    """A training batch as the model reads it: inputs, labels and their places, draws, distinct items.

    Runs on the CPU, so that no training step waits for the GPU to report a count.
    """
    ready: Any = {**targets.training(batch)}
    ready["masked"] = ready["items"] == mask_token
    # where the labels are, and which items occur
    ready["labels"] = ready["targets"].flatten().nonzero().squeeze(1)
    for name in DISTINCT.keys() & frozenset[str]().union(*(term.needs for term in terms)):
        ready[name] = real_items(ready[DISTINCT[name]], mask_token).unique()
    # draws, in the order of the terms
    draws = {term.name: term.draw(ready, epoch) for term in terms}
    ready["draws"] = {name: draw for name, draw in draws.items() if draw is not None}
    # items that the step encodes
    if not any(term.catalogue for term in terms):
        ready["encode_ids"] = read_ids(ready, terms)
    return ready


def read_ids(batch: SeqBatch, terms: Collection[LossTerm]) -> Int[Tensor, "M"]:
    """Distinct ids of the items that a step of a batch with its draws reads."""
    ids = [batch["items"], *(ids for term in terms for ids in term.item_ids(batch))]
    return torch.cat([tensor.flatten() for tensor in ids]).unique()


def map_tensors(batch: SeqBatch, change: Callable[[Tensor], Tensor]) -> SeqBatch:
    """The batch with ``change`` applied to every tensor, also in lists and dicts."""

    def apply(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: apply(part) for name, part in value.items()}
        return [apply(part) for part in value] if isinstance(value, list) else change(value)

    return apply(batch)


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
        cls, batch: SeqBatch, item_encoder: ItemEncoder, sequence_encoder: SequenceEncoder, targets: Targets
    ) -> TrainingStep:
        """Encode every item of the step once, then every sequence; ``batch`` is that of :func:`prepare_batch`."""
        ids = batch["items"]
        items = EncodedItems(item_encoder, batch.get("encode_ids"), ids.device)
        hidden = sequence_encoder(items.inputs(ids), real(ids), batch)
        return cls(batch, items, hidden, sequence_encoder, targets, item_encoder.n_items + 1)

    def user_states(self, again: bool = False) -> Float[Tensor, "B E"]:
        if self.hidden.ndim == 4:
            raise SettingError(
                "a loss term reads the one state of a user, who has several here; use sequence_encoder.readout=mean, or leave "
                "that term out"
            )
        rows = self.batch["state_rows"]
        return in_parts([self.batch["items"][rows]], self._states) if again else self.hidden[rows, -1]

    @torch.no_grad()
    def encode(self, groups: Sequence[Int[Tensor, "_ _"]], dropout: bool = False) -> Float[Tensor, "M E"]:
        with nullcontext() if dropout else _evaluation_mode(self.sequence_encoder):
            return in_parts(groups, self._last_states)

    def last_states(self, ids: Int[Tensor, "M L"]) -> Float[Tensor, "M E"]:
        return in_parts([ids], self._last_states)

    def _last_states(self, ids: Int[Tensor, "M L"]) -> Float[Tensor, "M E"]:
        return self._states(self.targets.inference(ids))

    def _states(self, ids: Int[Tensor, "M L"]) -> Float[Tensor, "M E"]:
        batch: SeqBatch = {"items": ids, "masked": ids == self.mask_token}
        return self.sequence_encoder(self.items.inputs(ids), real(ids), batch, last_only=True)[:, -1]


@contextmanager
def _evaluation_mode(encoder: SequenceEncoder) -> Iterator[None]:
    """Turn dropout off, then restore the mode of every part."""
    modes = [(part, part.training) for part in encoder.modules()]
    encoder.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode
