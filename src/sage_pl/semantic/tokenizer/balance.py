"""Balanced assignment of codes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sage_pl.errors import SettingError
from sage_pl.ranges import Count, Positive
from sage_pl.semantic.memberships import IntArray
from sage_pl.semantic.tables import FloatArray

ROWS = 4096  # in a chunk


@dataclass(frozen=True)
class Balanced:
    """Sinkhorn's assignment: every code gets a price at which all codes are chosen about equally often.

    With d the squared distances, centred and scaled to [-1, 1] by their extremes, ``Q = exp(-d / epsilon)`` is scaled in
    turn to rows that sum to 1 / N and columns that sum to 1 / V, and a row takes the code of its largest entry. Scaling
    columns multiplies each by a factor exp(g_v), so this is ``argmax_v g_v - d_iv / epsilon``, computed in logarithms:
    exp(1 / 0.003) is beyond float32. Balance holds over the rows of one call.

    Args:
        epsilon: softness of the assignment on the scale of d; small values move only nearly indifferent items.
        rounds: scalings of rows and columns.

    Raises:
        ValueError: ``epsilon`` or ``rounds`` is not positive.

    Reference: LC-Rec, uniform semantic mapping, with its values; its code computes in float64, batch by batch.
    """

    epsilon: Positive = 0.003
    rounds: Count = 50

    def __post_init__(self) -> None:
        if self.epsilon <= 0 or self.rounds < 1:
            raise SettingError(f"epsilon is {self.epsilon} and rounds is {self.rounds}, wanted both positive")

    def __call__(self, distances: FloatArray) -> IntArray:
        """The code of every row of ``distances`` [N, V]."""
        import torch

        low, high = distances.min(), distances.max()
        if low == high:
            return np.zeros(len(distances), dtype=np.int64)
        logits = torch.from_numpy((2 * distances - low - high) / (low - high) / self.epsilon)
        price = torch.zeros(logits.shape[1], dtype=logits.dtype)
        for _ in range(self.rounds):
            columns = []
            for part in logits.split(ROWS):
                rows = -torch.logsumexp(part + price, dim=1, keepdim=True)
                columns.append(torch.logsumexp(part + rows, dim=0))
            price = -torch.logsumexp(torch.stack(columns), dim=0)
            price -= price.mean()  # a common constant changes no argmax
        return (logits + price).argmax(dim=1).numpy()
