"""Batches straight from the flat arrays: one vectorised gather per batch, trimmed to its longest sequence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from sage_pl.artifacts.store import Artifact
from sage_pl.data.sequences import Cases, IntArray, Sequences
from sage_pl.types import SeqBatch

_RATIO, _RATIO_ACCELERATOR = 1.25, 16.0  # longest by shortest length of what is encoded together


@runtime_checkable
class BatchExtra(Protocol):
    """Adds keys to a training batch, e.g. similar users; ``provides`` names them."""

    provides: frozenset[str]

    def __call__(self, users: IntArray, sequences: Sequences, max_len: int, device: str = "cpu") -> dict[str, Any]:
        """The keys for these users; ``device``: the type of what will compute with them, e.g. cuda."""
        ...


class NeighbourUsers:
    """Ids of each user's most similar users, 0 where there is none or its training input is empty.

    Args:
        neighbours: path of the ``retrieve`` artifact: ``neighbours.npy`` [U + 1, k], 0 where there is none.
        k: how many of them to use; 10 in the paper.
    """

    provides = frozenset({"neighbour_users"})

    def __init__(self, neighbours: str, k: int = 10) -> None:
        self.table = np.asarray(np.load(f"{neighbours}/neighbours.npy", mmap_mode="r", allow_pickle=False))
        if k > self.table.shape[1]:
            raise ValueError(f"{k} neighbours asked for, {self.table.shape[1]} prepared; raise steps.retrieve.k")
        self.k = k

    def __call__(self, users: IntArray, sequences: Sequences, max_len: int, device: str = "cpu") -> dict[str, Any]:
        wanted = np.asarray(self.table[users, : self.k]).astype(np.int64)
        return {"neighbour_users": torch.from_numpy(np.where(sequences.train_end[wanted] > 1, wanted, 0))}


class Neighbours:
    """Training inputs of each user's most similar users, every one of them once and grouped by length.

    A group holds lengths within a factor of ``ratio``, so that of what is encoded at most ``1 - 1 / ratio`` is padding.

    A neighbour's input is its training sequence without the last item, as its own training step would read it;
    neighbours whose input is empty are left out (the reference encodes padding for them, docs/deviations.md).

    Args:
        neighbours, k: see :class:`NeighbourUsers`.
        ratio: longest by shortest length of a group, above 1; decides time, not results. None: 1.25 on a processor, and 16
            on an accelerator, which many small groups leave idle.
    """

    provides = frozenset({"neighbours", "taught", "neighbour_items"})

    def __init__(self, neighbours: str, k: int = 10, ratio: float | None = None) -> None:
        if ratio is not None and ratio <= 1:
            raise ValueError(f"data.extras.neighbours.ratio is {ratio}, wanted a factor above 1, such as 1.25, or null")
        self.ids = NeighbourUsers(neighbours, k)
        self.ratio = ratio

    def __call__(self, users: IntArray, sequences: Sequences, max_len: int, device: str = "cpu") -> dict[str, Any]:
        ratio = self.ratio or (_RATIO if device == "cpu" else _RATIO_ACCELERATOR)
        wanted = self.ids(users, sequences, max_len)["neighbour_users"].numpy()
        ends = sequences.train_end - 1
        distinct = np.unique(wanted[wanted > 0])
        distinct = distinct[np.argsort(ends[distinct], kind="stable")]
        row = np.full(sequences.n_users + 1, -1, dtype=np.int64)
        row[distinct] = np.arange(len(distinct))
        group = np.searchsorted(group_ends(max_len, ratio), np.minimum(ends[distinct], max_len))
        parts = np.split(distinct, np.flatnonzero(np.diff(group)) + 1) if len(distinct) else []
        windows = [torch.from_numpy(sequences.window(part, ends[part], max_len)) for part in parts]
        taught = torch.from_numpy(np.flatnonzero(wanted.any(1)))
        return {"neighbours": torch.from_numpy(row[wanted]), "taught": taught, "neighbour_items": windows}


def group_ends(max_len: int, ratio: float = _RATIO) -> IntArray:
    """Longest length of each group, growing by ``ratio``: 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, ... up to ``max_len``."""
    ends = [1]
    while ends[-1] < max_len:
        ends.append(min(max(ends[-1] + 1, int(ends[-1] * ratio)), max_len))
    return np.asarray(ends)


class TrainingUsers(Dataset):
    """Indexed by an array of users: their training sequences, the last ``max_len + 1`` items of each.

    Args:
        sequences, max_len, extras: see :class:`sage_pl.data.datamodule.SequenceDataModule`.
        device: the type of what computes with the batches; extras may suit it.
    """

    def __init__(
        self, sequences: Sequences, max_len: int, extras: Sequence[BatchExtra] = (), device: str = "cpu"
    ) -> None:
        self.sequences = sequences
        self.max_len = max_len
        self.extras = extras
        self.device = device

    def __getitem__(self, users: IntArray) -> SeqBatch:
        items = self.sequences.window(users, self.sequences.train_end[users], self.max_len + 1)
        batch: dict[str, Any] = {"items": torch.from_numpy(items), "user": torch.from_numpy(users)}
        for extra in self.extras:
            batch |= extra(users, self.sequences, self.max_len, self.device)
        return batch  # type: ignore[return-value]


class HeldOutCases(Dataset):
    """Indexed by an array of case rows: history, answer, and sampled candidates or seen items where asked for."""

    def __init__(
        self,
        sequences: Sequences,
        cases: Cases,
        max_len: int,
        candidates: np.ndarray | None = None,
        mask_seen: bool = False,
    ) -> None:
        self.sequences = sequences
        self.cases = cases
        self.max_len = max_len
        self.candidates = candidates
        self.mask_seen = mask_seen

    def __getitem__(self, rows: IntArray) -> SeqBatch:
        users, at = np.asarray(self.cases.user[rows]), np.asarray(self.cases.at[rows])
        batch: SeqBatch = {
            "items": torch.from_numpy(self.sequences.window(users, at, self.max_len)),
            "user": torch.from_numpy(users.astype(np.int64)),
            "answer": torch.from_numpy(self.cases.answer[rows].astype(np.int64)),
            "case": torch.from_numpy(rows.astype(np.int64)),
        }
        if self.candidates is not None:
            batch["candidates"] = torch.from_numpy(self.candidates[rows].astype(np.int64))
        if self.mask_seen:
            batch["seen"] = torch.from_numpy(self.sequences.window(users, at, int(at.max(initial=1))))
        return batch


class LengthGroupedSampler(Sampler):
    """Yields whole batches of row numbers, similar lengths together, in an order that depends on (seed, epoch) alone.

    Rows are shuffled, cut into blocks of ``block`` batches, and sorted by length within a block. A block is cut where the
    batches' total lengths are equal, so a batch holds many short or few long sequences and every item weighs the same in
    an epoch, as it would in random batches. The batches' order is shuffled again.

    Args:
        rows: row numbers to draw from.
        lengths: length of each of them.
        batch_size: rows per batch on average.
        seed: with the epoch, fixes the order.
        block: batches sorted together; 1 turns grouping off.
        shuffle: False gives one fixed order, shortest first, in batches of equal size, for evaluation.
    """

    def __init__(
        self, rows: IntArray, lengths: IntArray, batch_size: int, seed: int = 0, block: int = 32, shuffle: bool = True
    ) -> None:
        self.rows = np.asarray(rows, dtype=np.int64)
        self.lengths = np.asarray(lengths, dtype=np.int64)
        self.batch_size = batch_size
        self.seed = seed
        self.block = block
        self.shuffle = shuffle
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self.rows) // self.batch_size)

    def __iter__(self) -> Iterator[IntArray]:
        if not self.shuffle:
            order = np.argsort(self.lengths, kind="stable")
            yield from (self.rows[order[i : i + self.batch_size]] for i in range(0, len(order), self.batch_size))
            return
        generator = np.random.default_rng((self.seed, self.epoch))
        order = generator.permutation(len(self.rows))
        size = self.batch_size * self.block
        batches = [batch for i in range(0, len(order), size) for batch in self._cut(order[i : i + size])]
        yield from (self.rows[batches[i]] for i in generator.permutation(len(batches)))

    def _cut(self, block: IntArray) -> list[IntArray]:
        """Batches of one block, none of them empty."""
        count = -(-len(block) // self.batch_size)
        if self.block == 1 or count == 1:
            return [block]
        block = block[np.argsort(self.lengths[block], kind="stable")]
        total = np.cumsum(self.lengths[block])
        number = np.arange(1, count)
        cuts = np.searchsorted(total, total[-1] * number / count) + 1
        cuts = np.maximum.accumulate(np.minimum(cuts, len(block) - count + number) - number) + number
        return np.split(block, cuts)


def load_candidates(path: str | None) -> Mapping[str, np.ndarray | None]:
    """The sampled negatives of both splits, drawn once; none where ``path`` is None."""
    if path is None:
        return {"valid": None, "test": None}
    return {name: np.load(f"{path}/{name}.npy", mmap_mode="r", allow_pickle=False) for name in ("valid", "test")}


def load_sequences(path: str) -> Sequences:
    """Open the ``sequences`` artifact at ``path``."""
    return Sequences.load(Artifact.at(path))
