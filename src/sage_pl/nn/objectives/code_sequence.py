"""Cross-entropy of the codes of every next item, in one pass of a causal model over the sequence of codes."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sage_pl.errors import SettingError
from sage_pl.nn.objectives.codes import CodeCrossEntropy
from sage_pl.types import SeqBatch, real


class CodeSequence(CodeCrossEntropy):
    """``-log p(i | h)``, the value of :class:`CodeCrossEntropy`: a causal decoder reads the codes of ``x_1, ..., x_L`` and of
    the last target once, and each labelled item's codes are predicted from the states before them.

    Args:
        sequences, candidates, weight: see :class:`CodeCrossEntropy`.

    Raises:
        SettingError: a target is not the item that follows in the sequence.

    Reference: the sequential task of LC-Rec and Semantic Convergence, which reads each prefix anew.
    """

    reads_itself = True

    def draw(self, batch: SeqBatch, epoch: int) -> Int[Tensor, "..."] | None:
        items, targets = batch["items"], batch["targets"]
        if ((targets[:, :-1] != items[:, 1:]) & real(targets[:, :-1])).any():
            raise SettingError(
                "objective=code_sequence predicts the item that follows in a sequence; use targets=next_item, last_item or "
                "prefixes, and no backbone that masks items"
            )
        return None

    def forward(self, step: Any) -> Float[Tensor, ""]:
        items, targets, labels = step.batch["items"], step.batch["targets"], step.batch["labels"]
        decoder, among = step.decoder, self.candidate_ids if self.trained else None
        # the sequence with its last target, without the last code, which nothing follows
        ids = torch.cat([items, targets[:, -1:]], 1)
        levels = decoder.codes.levels
        tokens, mask = decoder.codes(ids).flatten(1, 2), real(ids).repeat_interleave(levels, 1)
        states = decoder.network.read_history(tokens[:, :-1], mask[:, :-1])
        # the states before each code of the labelled items
        row, column = labels // items.shape[1], labels % items.shape[1]
        places = (column[:, None] + 1) * levels + torch.arange(levels, device=labels.device)
        log_probs = decoder.log_probs_after(states[row[:, None], places], targets.flatten()[labels], among)
        return -log_probs.sum() / max(len(labels), 1)
