"""The LightningDataModule: sequences, split, sampled candidates and batch extras as loaders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from sage_pl import processes
from sage_pl.data.loader import HeldOutCases, LengthGroupedSampler, TrainingUsers, load_candidates, load_sequences
from sage_pl.data.neighbours import BatchExtra
from sage_pl.errors import SettingError
from sage_pl.ranges import Count, Length, Seed, Workers


class SequenceDataModule(pl.LightningDataModule):
    """Loaders over one prepared data set.

    Args:
        sequences: path of the ``sequences`` artifact.
        candidates: path of the ``candidates`` artifact (sampled negatives); None: full ranking alone.
        max_len: longest input; older items are cut off.
        batch_size: users per training step, on average: batches hold equal numbers of items.
        eval_batch_size: users per evaluation step.
        seed: fixes the order of the training batches, together with the epoch.
        seen: ``keep`` ranks every item; ``mask`` excludes the whole history from the ranking.
        extras: named additions to training batches (:class:`sage_pl.data.neighbours.BatchExtra`).
        length_block: batches that are sorted by length together; 1 turns length grouping off.
        num_workers: loader processes; 0 is fastest here, since a batch is one gather.
    """

    def __init__(
        self,
        sequences: str,
        candidates: str | None = None,
        max_len: Length = 50,
        batch_size: Count = 256,
        eval_batch_size: Count = 512,
        seed: Seed = 42,
        seen: Literal["keep", "mask"] = "keep",
        extras: Mapping[str, BatchExtra] | None = None,
        length_block: Count = 32,
        num_workers: Workers = 0,
    ) -> None:
        super().__init__()
        if seen not in ("keep", "mask"):
            raise SettingError(f"evaluation.seen is {seen!r}, wanted 'keep' or 'mask'")
        self.sequences = load_sequences(sequences)
        self.candidates = load_candidates(candidates)
        self.max_len = max_len
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.seed = seed
        self.mask_seen = seen == "mask"
        self.extras = dict(extras or {})
        self.length_block = length_block
        self.num_workers = num_workers

    @property
    def provides(self) -> frozenset[str]:
        """Keys of a training batch."""
        return frozenset({"items", "user"}).union(*(extra.provides for extra in self.extras.values()))

    def train_dataloader(self) -> DataLoader:
        """Users with at least two training items: one to read, one to predict."""
        users = np.flatnonzero(self.sequences.train_end >= 2)
        if not len(users):
            raise SettingError(
                "no user has two training items, so there is nothing to learn; "
                "use longer sequences (dataset.filters) or another split (split=global_time)"
            )
        lengths = np.minimum(self.sequences.train_end[users] - 1, self.max_len)
        sampler = LengthGroupedSampler(users, lengths, self.batch_size, self.seed, self.length_block)
        device = "cpu" if self.trainer is None else self.trainer.strategy.root_device.type
        return self._loader(TrainingUsers(self.sequences, self.max_len, list(self.extras.values()), device), sampler)

    def val_dataloader(self) -> DataLoader:
        return self._of_process("valid")

    def test_dataloader(self) -> DataLoader:
        return self._of_process("test")

    def _of_process(self, split: str) -> DataLoader:
        """This process's cases: all of them where it ranks a part of the items, else its part of the cases."""
        if self.trainer is not None and getattr(self.trainer.lightning_module, "ranks_together", False):
            return self.held_out(split)
        return self.held_out(split, rank=processes.rank(), world=processes.world())

    def held_out(self, split: str, most: int | None = None, rank: int = 0, world: int = 1) -> DataLoader:
        """The cases of a split in batches; ``most``: so many of them at most, evenly spaced.

        ``rank`` and ``world``: see :class:`sage_pl.data.loader.LengthGroupedSampler`.
        """
        cases = getattr(self.sequences, split)
        if not len(cases):
            raise SettingError(f"the {split} split holds no case: no user has enough events (leave-one-out needs 3)")
        data = HeldOutCases(self.sequences, cases, self.max_len, self.candidates[split], self.mask_seen)
        rows = np.arange(0, len(cases), 1 if most is None else -(-len(cases) // most))
        lengths = np.minimum(cases.at, self.max_len)[rows]
        size = self.eval_batch_size
        return self._loader(data, LengthGroupedSampler(rows, lengths, size, shuffle=False, rank=rank, world=world))

    def _loader(self, data: TrainingUsers | HeldOutCases, sampler: LengthGroupedSampler) -> DataLoader:
        # A generator of its own, since DataLoader draws a seed from it for every iteration.
        generator = torch.Generator()
        return DataLoader(data, sampler=sampler, batch_size=None, num_workers=self.num_workers, generator=generator)
