"""The base class of the objectives, and the selection of labelled positions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sage_pl.data.loader import load_sequences
from sage_pl.errors import SettingError
from sage_pl.nn.losses.base import LossTerm
from sage_pl.ranges import Weight
from sage_pl.types import LossContext


class Objective(LossTerm):
    """The recommendation loss: labelled positions against candidate items.

    Args:
        sequences: path of the ``sequences`` artifact, for the training counts.
        candidates: ``trained`` leaves out items that never occur in training, since training could only lower their scores;
            ``all`` includes them. Evaluation always ranks every item.
        weight: factor of this loss.
    """

    extent = "positions"

    def __init__(self, sequences: str, candidates: Literal["trained", "all"] = "trained", weight: Weight = 1.0) -> None:
        super().__init__(weight)
        if candidates not in ("trained", "all"):
            raise SettingError(f"objective.candidates is {candidates!r}, wanted 'trained' or 'all'")
        data = load_sequences(sequences)
        allowed = torch.ones(data.n_items + 2, dtype=torch.bool)
        if candidates == "trained":
            allowed = torch.from_numpy(data.train_counts > 0)
        allowed[[0, -1]] = False
        self._candidates = allowed.nonzero().squeeze(1)  # on the CPU, for draws
        self.register_buffer("candidate_ids", self._candidates, persistent=False)
        self.candidate_ids: Tensor

    def draw_candidates(self, shape: Sequence[int]) -> Int[Tensor, "..."]:
        """Candidates, uniformly, with repetition; on the CPU."""
        return self._candidates[torch.randint(len(self._candidates), shape)]


def states_and_targets(step: LossContext) -> tuple[Float[Tensor, "M E"], Int[Tensor, "M"]]:
    """States at the labelled positions, and the items they predict.

    Of several states of a position, [B, L, I, E], it is the one that scores the target highest.
    """
    rows = step.batch["labels"]
    hidden, targets = step.hidden.flatten(0, 1)[rows], step.batch["targets"].flatten()[rows]
    if hidden.ndim == 3:
        nearest = torch.einsum("mie,me->mi", hidden, step.items.outputs(targets)).argmax(1)
        hidden = hidden.take_along_dim(nearest[:, None, None], 1).squeeze(1)
    return hidden, targets
