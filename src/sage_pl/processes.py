"""The processes that train one run together; a process alone is rank 0 of 1, and every function here then does nothing.

Rank 0 prepares, writes files and logs; the others follow it through the same code (:mod:`sage_pl.runs.together`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from torch import Tensor
    from torch.distributed import Store

Value = TypeVar("Value")
_PATIENCE = timedelta(
    days=30
)  # of a follower, which waits while rank 0 prepares; a process that ends is noticed at once


@dataclass
class _Group:
    rank: int = 0
    world: int = 1
    draws: Any = None  # states of torch's generators for the draws that all processes share


_group = _Group()


def rank() -> int:
    """Number of this process, from 0."""
    return _group.rank


def world() -> int:
    """How many processes train together."""
    return _group.world


def join(number: int, count: int, store: Store) -> None:
    """Become process ``number`` of ``count``, which connect over this machine's loopback; waits for the others.

    Args:
        number: rank of this process.
        count: of all processes.
        store: torch's key-value store, by which they find each other.
    """
    import torch

    if sys.platform == "linux":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    torch.distributed.init_process_group(backend, store=store, rank=number, world_size=count, timeout=_PATIENCE)
    _group.rank, _group.world, _group.draws = number, count, None


def leave() -> None:
    """Be alone again."""
    import torch

    _group.rank, _group.world, _group.draws = 0, 1, None
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def agreed(value: Value) -> Value:
    """The value of rank 0, in every process; it waits for all of them."""
    if _group.world == 1:
        return value
    import torch

    values = [value]
    torch.distributed.broadcast_object_list(values, src=0)
    return values[0]


@contextmanager
def alone() -> Iterator[None]:
    """Within it, this process is alone; what it does there waits for no other."""
    rank, world = _group.rank, _group.world
    _group.rank, _group.world = 0, 1
    try:
        yield
    finally:
        _group.rank, _group.world = rank, world


def total(value: Tensor) -> Tensor:
    """The sum over the processes, each of which calls it with a tensor of this shape."""
    if _group.world == 1:
        return value
    import torch

    of_all = value.clone()
    torch.distributed.all_reduce(of_all)
    return of_all


def mean(value: Tensor) -> Tensor:
    """The mean over the processes, each of which calls it with a tensor of this shape."""
    return value if _group.world == 1 else total(value) / _group.world


def each(value: Tensor) -> list[Tensor]:
    """The tensor of every process, by rank; all have one shape."""
    if _group.world == 1:
        return [value]
    import torch

    values = [torch.empty_like(value, memory_format=torch.contiguous_format) for _ in range(_group.world)]
    torch.distributed.all_gather(values, value.contiguous())
    return values


def exchange(value: Tensor, sends: list[int], receives: list[int]) -> Tensor:
    """Rows for every process, in the order of ranks, against those that they have for this one.

    Args:
        value: rows [M, ...], of which the first ``sends[0]`` go to rank 0, and so on.
        sends, receives: number of rows to and from each process.
    """
    if _group.world == 1:
        return value
    import torch

    received = value.new_empty(sum(receives), *value.shape[1:])
    torch.distributed.all_to_all_single(received, value.contiguous(), receives, sends)
    return received


def share(value: Tensor) -> None:
    """Set a tensor to that of rank 0, in every process."""
    import torch

    torch.distributed.broadcast(value.detach(), src=0)


def seed(number: int) -> None:
    """Seed torch: what is drawn within :func:`same_draws` alike in every process, all else, such as dropout, by rank."""
    import torch

    torch.manual_seed(number)
    if _group.world > 1:
        _group.draws = _states()
        torch.manual_seed(number + 7919 * (1 + _group.rank))


@contextmanager
def same_draws() -> Iterator[None]:
    """Within it, torch draws the same numbers in every process, and those of one process alone where it has no dropout."""
    if _group.world == 1:
        yield
        return
    of_rank = _states()
    _restore(_group.draws or of_rank)
    try:
        yield
    finally:
        _group.draws = _states()
        _restore(of_rank)


def _states() -> list[Any]:
    import torch

    return [torch.get_rng_state(), *([torch.cuda.get_rng_state()] if torch.cuda.is_initialized() else [])]


def _restore(states: list[Any]) -> None:
    import torch

    torch.set_rng_state(states[0])
    for state in states[1:]:
        torch.cuda.set_rng_state(state)
