"""How long an epoch takes."""

from __future__ import annotations

import time

import pytorch_lightning as pl

from sage_pl.types import SeqBatch


class Speed(pl.Callback):
    """Logs ``train/seconds``, ``train/users_per_second`` and, where there was a validation, ``val/seconds``.

    Wall-clock time of each epoch; users of all processes. On a GPU the last steps of an epoch may count as validation.
    """

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._users = 0
        self._start = time.perf_counter()
        self._trained: float | None = None

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: SeqBatch, batch_idx: int
    ) -> None:
        self._users += len(batch["user"]) * trainer.world_size

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._trained = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        now = time.perf_counter()
        trained = now if self._trained is None else self._trained
        seconds = {
            "train/seconds": trained - self._start,
            "train/users_per_second": self._users / (trained - self._start),
        }
        if self._trained is not None:
            seconds["val/seconds"] = now - trained
        pl_module.log_dict(seconds, sync_dist=True)
