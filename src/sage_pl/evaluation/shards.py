"""A table in shards: process r of P holds the rows r, r + P, ..., and all processes together look up any row."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sage_pl import processes


class Route:
    """The way of ids to the processes that hold their rows, and back; every process makes and uses one at the same time.

    Args:
        ids: those that this process looks up, any number, in any order.

    Attributes:
        places: of the rows that all processes ask of this one, in its shard.
    """

    def __init__(self, ids: Int[Tensor, "M"]) -> None:
        world = processes.world()
        holder = ids % world
        self._order = holder.argsort(stable=True)
        counts = torch.bincount(holder, minlength=world)
        self._asks = counts.tolist()
        self._answers = processes.exchange(counts, [1] * world, [1] * world).tolist()
        self.places = processes.exchange((ids // world)[self._order], self._asks, self._answers)

    def fetch(self, shard: Float[Tensor, "S *D"]) -> Float[Tensor, "M *D"]:
        """The rows of the ids, out of the shards."""
        answers = processes.exchange(shard[self.places], self._answers, self._asks)
        return torch.empty_like(answers).index_copy_(0, self._order, answers)

    def send(self, values: Float[Tensor, "M *D"]) -> Float[Tensor, "m *D"]:
        """A value of each id, to the holder of its row: here those of :attr:`places`, in their order."""
        return processes.exchange(values[self._order], self._asks, self._answers)


class Shard:
    """A :class:`sage_pl.types.VectorTable` in shards; every process reads the same rows at the same time.

    Args:
        rows: of this process, [S, E].
        n_rows: R.

    Attributes:
        ids: of ``rows``.
    """

    def __init__(self, rows: Float[Tensor, "S E"], n_rows: int) -> None:
        self.rows = rows
        self.ids = range(processes.rank(), n_rows, processes.world())
        self.shape = (n_rows, rows.shape[1])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> Float[Tensor, "*P E"]:
        ids = (
            torch.arange(*rows.indices(len(self)), device=self.rows.device) if isinstance(rows, slice) else rows.long()
        )
        return Route(ids.flatten()).fetch(self.rows).view(*ids.shape, self.shape[1])
