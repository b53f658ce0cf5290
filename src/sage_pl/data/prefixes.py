"""Every prefix of a sequence as a sample of its own."""

from __future__ import annotations

import torch

from sage_pl.data.targets import NextItem
from sage_pl.types import PADDING, SeqBatch, real


class Prefixes(NextItem):
    """Every prefix is a row that predicts the item after it, at its last position alone.

    ``[a, b, c]`` becomes the inputs ``[0, a]`` and ``[a, b]`` with the targets ``[0, b]`` and ``[0, c]``: the labels of
    :class:`NextItem`, for models in which a position may see what comes after it (BSARec's filter) or which know the end of
    a sequence alone (interests). A batch of B users becomes as many rows as it has labels, so a step costs about as many
    times more as a sequence is long.
    """

    def training(self, batch: SeqBatch) -> SeqBatch:
        sequence = batch["items"]
        width = sequence.shape[1] - 1
        users, ends = real(sequence[:, :-1]).nonzero(as_tuple=True)  # each prefix ends with column `end`
        columns = ends[:, None] - torch.arange(width - 1, -1, -1, device=sequence.device)
        items = torch.where(columns >= 0, sequence[users[:, None], columns.clamp(min=0)], PADDING)
        targets = torch.zeros_like(items)
        targets[:, -1] = sequence[users, ends + 1]
        whole = (ends == width - 1).nonzero().squeeze(1)
        return {**batch, "items": items, "targets": targets, "state_rows": whole}
