"""Rows that processes compute in parts, and their gradients, brought together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from sage_pl import processes


def in_parts(
    groups: Sequence[Int[Tensor, "_ _"]], states: Callable[[Int[Tensor, "_ _"]], Float[Tensor, "_ E"]]
) -> Float[Tensor, "M E"]:
    """``states`` of every row of ``groups``, group after group; of several processes each computes every P-th row."""
    total, world = sum(map(len, groups)), processes.world()
    if world == 1 or total < world:
        return torch.cat([states(group) for group in groups]) if len(groups) > 1 else states(groups[0])
    parts, before = [], 0
    for group in groups:
        parts.append(group[(processes.rank() - before) % world :: world])
        before += len(group)
    return gather(torch.cat([states(part) for part in parts if len(part)]), total)


def gather(part: Float[Tensor, "m *D"], total: int) -> Float[Tensor, "M *D"]:
    """All M rows in order, of which process r of P has the rows r, r + P, ...; the gradient reaches each process's own.

    Every process is expected to compute the same from the result, and the processes' gradients to be averaged. The gradient of
    its rows is therefore that of its own loss times P.

    Args:
        part: the rows of this process, and any after them.
        total: M, the same in every process.
    """
    return _Gather.apply(part, total)


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """The mean of each gradient over the processes in its place; all of one type travel together, sparse ones by themselves.

    Every process has gradients of the same parameters, since all of them compute the same terms.
    """
    dense: dict[torch.dtype, list[Tensor]] = {}
    for parameter in parameters:
        if (gradient := parameter.grad) is None:
            continue
        if gradient.is_sparse:
            parameter.grad = _mean_of_rows(gradient.coalesce())
        else:
            dense.setdefault(gradient.dtype, []).append(gradient)
    for gradients in dense.values():
        together = processes.mean(torch.cat([gradient.flatten() for gradient in gradients]))
        for gradient, part in zip(gradients, together.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))


def _mean_of_rows(gradient: Tensor) -> Tensor:
    """The mean of a sparse gradient, whose rows differ by process; NCCL has no sum of such."""
    places, values = gradient.indices()[0], gradient.values()
    counts = [int(count) for count in processes.each(torch.tensor(len(places), device=places.device))]
    spare = max(counts) - len(places)
    places, values = (
        torch.cat([places, places.new_zeros(spare)]),
        torch.cat([values, values.new_zeros(spare, *values.shape[1:])]),
    )
    of_all = [
        torch.cat([part[:count] for part, count in zip(processes.each(tensor), counts, strict=True)])
        for tensor in (places, values)
    ]
    rows = torch.sparse_coo_tensor(
        of_all[0][None], of_all[1] / processes.world(), gradient.shape, check_invariants=False
    )
    return rows.coalesce()


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, part: Tensor, total: int) -> Tensor:
        rank, world = processes.rank(), processes.world()
        most = -(-total // world)
        ctx.rows, ctx.count = slice(rank, None, world), len(part)
        padded = part.new_zeros(most, *part.shape[1:])
        mine = len(range(rank, total, world))
        padded[:mine] = part[:mine]
        parts = [torch.empty_like(padded) for _ in range(world)]
        torch.distributed.all_gather(parts, padded)
        return torch.stack(parts, 1).flatten(0, 1)[:total]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        mine = grads[0][ctx.rows] * processes.world()
        spare = mine.new_zeros(ctx.count - len(mine), *mine.shape[1:])
        return torch.cat([mine, spare]), None
