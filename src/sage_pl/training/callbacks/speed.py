"""Duration of epochs."""

from __future__ import annotations

import time

import pytorch_lightning as pl

from sage_pl.types import SeqBatch


class Speed(pl.Callback):
    """Logs ``train/seconds``, ``train/users_per_second`` and, after a validation, ``val/seconds``.

    Wall-clock time of each epoch; every process sees the batch of all, so a user counts once. On a GPU the last steps of an
    epoch may count as validation, since nothing synchronises between them.
    """

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._users = 0
        self._start = time.perf_counter()
        self._end: float | None = None  # of training, where a validation follows

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: SeqBatch, batch_idx: int
    ) -> None:
        self._users += len(batch["user"])

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._end = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        now = time.perf_counter()
        seconds = (now if self._end is None else self._end) - self._start
        metrics = {"train/seconds": seconds, "train/users_per_second": self._users / seconds}
        if self._end is not None:
            metrics["val/seconds"] = now - self._end
        pl_module.log_dict(metrics, sync_dist=True)
