"""Recommended lists of all test cases, and their metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from sage_pl.data.sequences import Sequences
from sage_pl.evaluation.lists import list_metrics
from sage_pl.ranges import Count
from sage_pl.types import SeqBatch

if TYPE_CHECKING:
    from scipy.sparse import csr_array


class RecommendedLists(Callback):
    """Stores the ``k`` best items of the module's ``recommend`` after each test case's whole history.

    Logs ``test/lists/coverage@10`` and the other metrics of :func:`sage_pl.evaluation.lists.list_metrics`. The batch must
    hold ``case``; lists are stored by case and reduced over processes, as ranks are.

    Args:
        sequences: the data.
        tail_items: [N + 2], True for tail items.
        words: :func:`sage_pl.evaluation.lists.word_vectors`; None where items have no text.
        exclude_seen: exclude the history, as does the full ranking with ``evaluation.seen=mask``.
        k: length of the lists.

    Attributes:
        lists: [K, k] item ids after a test, best first; 0 where fewer were recommended or a case was not evaluated.
    """

    def __init__(
        self,
        sequences: Sequences,
        tail_items: npt.NDArray[np.bool_],
        words: csr_array | None = None,
        exclude_seen: bool = False,
        k: Count = 10,
    ) -> None:
        self.sequences = sequences
        self.tail_items = tail_items
        self.words = words
        self.exclude_seen = exclude_seen
        self.k = k
        self.lists: npt.NDArray[np.int64] = self._empty()

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.lists = self._empty()

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: SeqBatch, batch_idx: int, *_: int
    ) -> None:
        cases = batch["case"].cpu().numpy()
        user, at = self.sequences.test.user[cases], self.sequences.test.at[cases]
        histories = torch.from_numpy(self.sequences.window(user, at, int(at.max()))).to(pl_module.device)
        users = torch.from_numpy(np.asarray(user, np.int64)).to(pl_module.device)
        best = pl_module.recommend(histories, self.k, self.exclude_seen, users)  # type: ignore[operator]
        self.lists[cases] = best.ids.cpu().numpy()

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        of_process = torch.from_numpy(self.lists).to(pl_module.device)
        self.lists = trainer.strategy.reduce(of_process, reduce_op="max").cpu().numpy()
        lists = self.lists[self.lists.any(1)]
        for name, value in list_metrics(lists, self.sequences.train_counts, self.tail_items, self.words).items():
            pl_module.log(f"test/lists/{name}", value, sync_dist=True, reduce_fx="max")

    def _empty(self) -> npt.NDArray[np.int64]:
        return np.zeros((len(self.sequences.test), self.k), np.int64)
