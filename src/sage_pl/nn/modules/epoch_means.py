"""Means of a step's values over an epoch, kept on the device of the values."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor


class EpochMeans:
    """``sum_b rows_b value_b / sum_b rows_b`` over the batches b since :meth:`take`, for each named value.

    Three operations per step on the values' device; logging through the trainer in every step takes a fifth of a small step of
    SAGE on a GPU (docs/performance.md). Sums are float32.
    """

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ()
        self._sums: Float[Tensor, "K"] | None = None
        self._rows = 0

    def add(self, values: Mapping[str, Float[Tensor, ""]], rows: int) -> None:
        """Adds the values of one batch with ``rows`` rows; the names are the same in every batch."""
        weighted = torch.stack([value.detach().float() for value in values.values()]) * rows
        self._sums = weighted if self._sums is None else self._sums + weighted
        self._names, self._rows = tuple(values), self._rows + rows

    def take(self) -> dict[str, Float[Tensor, ""]]:
        """The means since the last call, which resets them; empty where nothing was added."""
        if self._sums is None:
            return {}
        means = self._sums / self._rows
        self._sums, self._rows = None, 0
        return dict(zip(self._names, means.unbind(), strict=True))
