"""Batches from the flat arrays: one vectorised gather per batch, trimmed to its longest sequence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from sage_pl.artifacts.store import Artifact
from sage_pl.data.neighbours import BatchExtra
from sage_pl.data.sequences import Cases, IntArray, Sequences
from sage_pl.ranges import Count, Length, Natural, Seed
from sage_pl.types import SeqBatch


class TrainingUsers(Dataset):
    """Indexed by an array of users: their training sequences, the last ``max_len + 1`` items of each.

    Args:
        sequences, max_len, extras: see :class:`sage_pl.data.datamodule.SequenceDataModule`.
        device: type of the device that computes with the batches, such as cuda; passed to the extras.
    """

    def __init__(
        self, sequences: Sequences, max_len: Length, extras: Sequence[BatchExtra] = (), device: str = "cpu"
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
    """Indexed by an array of case rows: history, answer and, where configured, sampled candidates or seen items."""

    def __init__(
        self,
        sequences: Sequences,
        cases: Cases,
        max_len: Length,
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

    Shuffles the rows, cuts them into blocks of ``block`` batches and sorts each block by length. A block is cut into batches of
    equal total length: many short or few long sequences, so that every item weighs the same in an epoch, as in random
    batches. The batches are shuffled again.

    Args:
        rows: row numbers to draw from.
        lengths: length of each of them.
        batch_size: rows per batch on average.
        seed: fixes the order, together with the epoch.
        block: batches sorted together; 1 turns grouping off.
        shuffle: False gives one fixed order, shortest first, in batches of equal size, for evaluation.
        rank, world: of ``world`` processes this is number ``rank`` and gets every ``world``-th batch as it is in the whole, at
            least one; for evaluation.
    """

    def __init__(
        self,
        rows: IntArray,
        lengths: IntArray,
        batch_size: Count,
        seed: Seed = 0,
        block: Count = 32,
        shuffle: bool = True,
        rank: Natural = 0,
        world: Count = 1,
    ) -> None:
        self.rows = np.asarray(rows, dtype=np.int64)
        self.lengths = np.asarray(lengths, dtype=np.int64)
        self.batch_size = batch_size
        self.seed = seed
        self.block = block
        self.shuffle = shuffle
        self.epoch = 0
        self.count = -(-len(self.rows) // batch_size)  # batches of all processes
        self.mine = range(min(rank, max(self.count - 1, 0)), self.count, world)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.mine)

    def __iter__(self) -> Iterator[IntArray]:
        if not self.shuffle:
            order = np.argsort(self.lengths, kind="stable")
            size = self.batch_size
            yield from (self.rows[order[i * size : (i + 1) * size]] for i in self.mine)
            return
        # shuffle, cut blocks into batches, shuffle the batches
        generator = np.random.default_rng((self.seed, self.epoch))
        order = generator.permutation(len(self.rows))
        size = self.batch_size * self.block
        batches = [batch for i in range(0, len(order), size) for batch in self._cut(order[i : i + size])]
        yield from (self.rows[batches[i]] for i in generator.permutation(len(batches)))

    def _cut(self, block: IntArray) -> list[IntArray]:
        """Non-empty batches of one block."""
        count = -(-len(block) // self.batch_size)
        if self.block == 1 or count == 1:
            return [block]
        # where the running length reaches 1/count, 2/count, ... of the total
        block = block[np.argsort(self.lengths[block], kind="stable")]
        total = np.cumsum(self.lengths[block])
        number = np.arange(1, count)
        cuts = np.searchsorted(total, total[-1] * number / count) + 1
        # at least one row before, between and after the cuts
        cuts = np.maximum.accumulate(np.minimum(cuts, len(block) - count + number) - number) + number
        return np.split(block, cuts)


def load_candidates(path: str | None) -> Mapping[str, np.ndarray | None]:
    """The sampled negatives [K, n] of both splits in the ``candidates`` artifact at ``path``; None without a path."""
    if path is None:
        return {"valid": None, "test": None}
    artifact = Artifact.at(path)
    return {name: artifact.array(name) for name in ("valid", "test")}


def load_sequences(path: str) -> Sequences:
    """Open the ``sequences`` artifact at ``path``."""
    return Sequences.load(Artifact.at(path))
