"""Ranking metrics of validation and test, from the ranks that the module's steps return."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from sage_pl.errors import SettingError
from sage_pl.evaluation.floors import Floors
from sage_pl.evaluation.groups import BASIC, Groups
from sage_pl.evaluation.metrics import KS, summarise
from sage_pl.evaluation.results import floor_metrics
from sage_pl.ranges import Count, Filled
from sage_pl.types import SeqBatch

PREFIX = {"valid": "val", "test": "test"}
WATCHED = 10  # the cut-off by which an epoch is chosen


class RankingEvaluation(Callback):
    """Logs ``val/full/ndcg@10``, ``test/sampled100/hr@10/item_tail`` and so on, and stores the test's ranks.

    ``validation_step`` and ``test_step`` must return protocol -> 1-based ranks ``[B]``, and the batch must hold ``case``.
    Ranks are stored by case and reduced over processes at the epoch's end, so a case that a distributed sampler repeats
    counts once. Lightning's sanity check is ignored.

    Args:
        groups: ``valid`` and ``test`` -> groups of that split's cases. Validation logs ``BASIC`` of them, the test all.
        ks: cut-offs; 10 is measured beside them, as ``val/full/ndcg@10`` chooses the epoch.

    Attributes:
        test_ranks: protocol -> [K] ranks by case after a test, 0 where a case was not evaluated.
        floors: split -> floors, with ranks of all its cases.

    Raises:
        SettingError: ``groups`` lacks a split.
    """

    def __init__(self, groups: Mapping[str, Groups], ks: Annotated[Sequence[Count], Filled()] = KS) -> None:
        if absent := PREFIX.keys() - groups.keys():
            raise SettingError(f"groups are given for {sorted(groups)}, but not for {sorted(absent)}")
        self.groups = groups
        self.ks = tuple(sorted({*ks, WATCHED}))
        self.test_ranks: dict[str, npt.NDArray[np.int64]] = {}
        self.floors: Mapping[str, Floors] = {}
        self._ranks: dict[str, npt.NDArray[np.int64]] = {}

    def floor_metrics(self, split: str) -> dict[str, float]:
        """``floor/<name>/<protocol>/...`` of those cases of a split that were ranked, which is the last one evaluated."""
        ranked = {
            name: {protocol: np.where(of_run > 0, ranks[protocol], 0) for protocol, of_run in self._ranks.items()}
            for name, ranks in self.floors.get(split, {}).items()
        }
        return floor_metrics(ranked, self._groups(split), self.ks)

    def _groups(self, split: str) -> dict[str, npt.NDArray[np.bool_]]:
        return {name: self.groups[split][name] for name in (BASIC if split == "valid" else self.groups[split])}

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._ranks = {}

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: SeqBatch, batch_idx: int, *_: int
    ) -> None:
        if not trainer.sanity_checking:
            self._store("valid", outputs, batch)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            self._log("valid", trainer, pl_module)

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._ranks = {}

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: SeqBatch, batch_idx: int, *_: int
    ) -> None:
        self._store("test", outputs, batch)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._log("test", trainer, pl_module)
        self.test_ranks = self._ranks

    def _store(self, split: str, outputs: Any, batch: SeqBatch) -> None:
        if not isinstance(outputs, Mapping):
            raise TypeError(f"the {split} step must return protocol -> ranks, got {type(outputs).__name__}")
        cases = batch["case"].cpu().numpy()
        for protocol, ranks in outputs.items():
            by_case = self._ranks.setdefault(protocol, np.zeros(self.groups[split].n_cases, np.int64))
            by_case[cases] = ranks.cpu().numpy()

    def _log(self, split: str, trainer: Trainer, pl_module: LightningModule) -> None:
        groups = self._groups(split)
        for protocol, ranks in self._ranks.items():
            of_process = torch.from_numpy(ranks).to(pl_module.device)
            of_all = trainer.strategy.reduce(of_process, reduce_op="max").cpu().numpy()
            self._ranks[protocol] = of_all
            for name, value in summarise(of_all, groups, self.ks).items():
                # The value is equal in all processes, so the largest is exact; without sync_dist Lightning warns of each name.
                pl_module.log(f"{PREFIX[split]}/{protocol}/{name}", value, sync_dist=True, reduce_fx="max")
