"""Items as rows of one trained table that no process holds whole."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from sage_pl import processes
from sage_pl.evaluation.shards import Route, Shard
from sage_pl.ranges import Count, Width
from sage_pl.types import Views

_BLOCK = 8192  # rows drawn at a time


class ShardedTable(nn.Module):
    """A table [R, D] from N(0, std²), of which process r of P holds the rows r, r + P, ...; row 0 (padding) stays zero.

    All processes look up at the same time, each its own ids. A gradient has rows, the mean over the processes, and reaches the
    process that holds them. Every process draws the whole table block by block, so any number of them begins with the same one.

    Args:
        n_rows: R.
        dim: D.
        std: of the start.
    """

    sparse = True  # its gradient

    def __init__(self, n_rows: Count, dim: Width, std: float) -> None:
        super().__init__()
        self.n_rows = n_rows
        rank, world = processes.rank(), processes.world()
        self.weight = nn.Parameter(torch.empty(len(range(rank, n_rows, world)), dim))
        for start in range(0, n_rows, _BLOCK):
            block = nn.init.normal_(torch.empty(min(_BLOCK, n_rows - start), dim), std=std)
            mine = block[(rank - start) % world :: world]
            self.weight.data[(start + (rank - start) % world) // world :][: len(mine)] = mine
        if rank == 0:
            nn.init.zeros_(self.weight[0])

    @property
    def elsewhere(self) -> int:
        """Numbers of the table that other processes hold."""
        return self.n_rows * self.weight.shape[1] - self.weight.numel()

    def forward(self, ids: Int[Tensor, "M"]) -> Float[Tensor, "M D"]:
        return _LookUp.apply(self.weight, ids)


class ShardedIds(nn.Module):
    """:class:`sage_pl.nn.item_encoders.id.IdEncoder` with a table in shards: memory for 1 / P of it in each of P processes.

    The gradient has rows alone, as there with ``sparse``: it needs ``optimizer=row_adam`` and a loss that does not read every
    item. What else it goes with: :mod:`sage_pl.runs.sharded`.

    Args:
        n_items: N.
        dim: width D of the view and of the scored vector.
    """

    def __init__(self, n_items: Count, dim: Width = 64) -> None:
        super().__init__()
        self.n_items = n_items
        self.input_dims: Mapping[str, int] = {"id": dim}
        self.output_dim = dim
        self.table = ShardedTable(n_items + 2, dim, std=0.02)

    def views(self, ids: Int[Tensor, "M"], names: Collection[str] | None = None) -> Views:
        return {"id": self.table(ids)}

    def output(self, views: Views) -> Float[Tensor, "*P E"]:
        return views["id"]

    def scored(self) -> Shard:
        """Every item's scored vector, of which this process ranks its rows."""
        return Shard(self.table.weight.detach(), self.table.n_rows)


def shards_of(module: nn.Module) -> dict[str, ShardedTable]:
    """The tables of a model that several processes hold in shards, by the names of their weights; none in one process."""
    if processes.world() == 1:
        return {}
    return {f"{name}.weight": part for name, part in module.named_modules() if isinstance(part, ShardedTable)}


def in_every_process(module: nn.Module) -> Iterator[nn.Parameter]:
    """The parameters that each process holds whole."""
    shards = {id(table.weight) for table in shards_of(module).values()}
    return (parameter for parameter in module.parameters() if id(parameter) not in shards)


class _LookUp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, ids: Tensor) -> Tensor:
        ids = ids.long()
        ctx.route, ctx.shape = Route(ids), weight.shape
        return ctx.route.fetch(weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        values, places = ctx.route.send(grads[0]) / processes.world(), ctx.route.places
        if processes.rank() == 0:  # the holder of row 0, which stays
            places, values = places[places != 0], values[places != 0]
        return torch.sparse_coo_tensor(places[None], values, ctx.shape, check_invariants=False), None
