"""What the objectives share: selecting labelled positions and the set of candidate items."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sage_pl.data.loader import load_sequences
from sage_pl.types import LossContext, SeqBatch


class Objective(nn.Module):
    """The recommendation loss: labelled positions against candidate items.

    Args:
        sequences: path of the ``sequences`` artifact, for the training counts.
        candidates: ``trained`` leaves items that never occur in training out of the candidates, since all they could
            learn there is to be pushed down; ``all`` keeps them in. Evaluation always ranks every item.
        weight: factor of this loss.
    """

    needs = frozenset[str]()
    reads = frozenset[str]()
    catalogue = False

    def __init__(self, sequences: str, candidates: Literal["trained", "all"] = "trained", weight: float = 1.0) -> None:
        super().__init__()
        if candidates not in ("trained", "all"):
            raise ValueError(f"objective.candidates is {candidates!r}, wanted 'trained' or 'all'")
        self.weight = weight
        data = load_sequences(sequences)
        allowed = torch.ones(data.n_items + 2, dtype=torch.bool)
        if candidates == "trained":
            allowed = torch.from_numpy(data.train_counts > 0)
        allowed[[0, -1]] = False
        self._drawn_from = allowed.nonzero().squeeze(1)  # stays with the host, where batches are made
        self.register_buffer("candidate_ids", self._drawn_from, persistent=False)
        self.candidate_ids: Tensor

    def draw(self, shape: Sequence[int], device: torch.device) -> Int[Tensor, "..."]:
        """Candidates, uniformly, with repetition; drawn on the host."""
        return self._drawn_from[torch.randint(len(self._drawn_from), shape)].to(device)

    def item_ids(self, batch: SeqBatch) -> list[Int[Tensor, "..."]]:
        return [batch["targets"]]


def labelled(step: LossContext) -> tuple[Float[Tensor, "M E"], Int[Tensor, "M"]]:
    """States that have something to predict, and what: padding is dropped before anything is scored.

    Of several states of a position, [B, L, I, E], it is the one that scores the target highest.
    """
    rows = step.batch["labels"]
    hidden, targets = step.hidden.flatten(0, 1)[rows], step.batch["targets"].flatten()[rows]
    if hidden.ndim == 3:
        nearest = torch.einsum("mie,me->mi", hidden, step.items.outputs(targets)).argmax(1)
        hidden = hidden.take_along_dim(nearest[:, None, None], 1).squeeze(1)
    return hidden, targets
