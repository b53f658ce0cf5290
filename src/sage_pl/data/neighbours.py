"""Additions to training batches: similar users' ids, or their training inputs grouped by length."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch

from sage_pl.artifacts.store import Artifact
from sage_pl.data.sequences import IntArray, Sequences
from sage_pl.errors import SettingError
from sage_pl.ranges import Count, Ratio

_RATIO, _RATIO_ACCELERATOR = 1.25, 16.0  # longest by shortest length of sequences that are encoded together


@runtime_checkable
class BatchExtra(Protocol):
    """Adds keys to a training batch, e.g. similar users; ``provides`` names them."""

    provides: frozenset[str]

    def __call__(self, users: IntArray, sequences: Sequences, max_len: int, device: str = "cpu") -> dict[str, Any]:
        """The keys for these users; ``device``: type of the device that computes with them, e.g. cuda."""
        ...


class NeighbourUsers:
    """Ids of each user's most similar users, 0 where there is none or its training input is empty.

    Args:
        neighbours: path of the ``retrieve`` artifact: ``neighbours.npy`` [U + 1, k], 0 where there is none.
        k: neighbours per user; 10 in the paper.

    Raises:
        SettingError: fewer than ``k`` neighbours were prepared.
    """

    provides = frozenset({"neighbour_users"})

    def __init__(self, neighbours: str, k: Count = 10) -> None:
        self.table = Artifact.at(neighbours).array("neighbours")
        if k > self.table.shape[1]:
            raise SettingError(f"k is {k}, but {self.table.shape[1]} neighbours are prepared; raise steps.retrieve.k")
        self.k = k

    def __call__(self, users: IntArray, sequences: Sequences, max_len: int, device: str = "cpu") -> dict[str, Any]:
        neighbours = np.asarray(self.table[users, : self.k]).astype(np.int64)
        return {"neighbour_users": torch.from_numpy(np.where(sequences.train_end[neighbours] > 1, neighbours, 0))}


class Neighbours:
    """Training inputs of each user's most similar users, without duplicates and grouped by length.

    The lengths of a group lie within a factor of ``ratio``, so at most ``1 - 1 / ratio`` of a group is padding. A neighbour's
    input is its training sequence without the last item, as in its own training step. Neighbours with an empty input are
    excluded (the reference encodes padding for them, docs/deviations.md).

    Args:
        neighbours, k: see :class:`NeighbourUsers`.
        ratio: longest by shortest length of a group, above 1; decides time, not results. None: 1.25 on a CPU, 16 on an
            accelerator, which many small groups underuse.

    Raises:
        SettingError: ``ratio`` is not above 1, or fewer than ``k`` neighbours were prepared.
    """

    provides = frozenset({"neighbours", "users_with_teachers", "neighbour_items"})

    def __init__(self, neighbours: str, k: Count = 10, ratio: Ratio | None = None) -> None:
        if ratio is not None and ratio <= 1:
            raise SettingError(f"data.extras.neighbours.ratio is {ratio}, wanted a factor above 1, e.g. 1.25, or null")
        self.ids = NeighbourUsers(neighbours, k)
        self.ratio = ratio

    def __call__(self, users: IntArray, sequences: Sequences, max_len: int, device: str = "cpu") -> dict[str, Any]:
        ratio = self.ratio or (_RATIO if device == "cpu" else _RATIO_ACCELERATOR)
        neighbours = self.ids(users, sequences, max_len)["neighbour_users"].numpy()
        ends = sequences.train_end - 1
        # distinct neighbours, shortest input first, and the row of each
        distinct = np.unique(neighbours[neighbours > 0])
        distinct = distinct[np.argsort(ends[distinct], kind="stable")]
        row = np.full(sequences.n_users + 1, -1, dtype=np.int64)
        row[distinct] = np.arange(len(distinct))
        # one window per group of lengths
        group = np.searchsorted(group_ends(max_len, ratio), np.minimum(ends[distinct], max_len))
        parts = np.split(distinct, np.flatnonzero(np.diff(group)) + 1) if len(distinct) else []
        windows = [torch.from_numpy(sequences.window(part, ends[part], max_len)) for part in parts]
        return {
            "neighbours": torch.from_numpy(row[neighbours]),
            "users_with_teachers": torch.from_numpy(np.flatnonzero(neighbours.any(1))),
            "neighbour_items": windows,
        }


def group_ends(max_len: int, ratio: float = _RATIO) -> IntArray:
    """Longest length of each group, growing by ``ratio``: 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, ... up to ``max_len``."""
    ends = [1]
    while ends[-1] < max_len:
        ends.append(min(max(ends[-1] + 1, int(ends[-1] * ratio)), max_len))
    return np.asarray(ends)
