"""One log line per epoch, which stays readable where a progress bar is not."""

from __future__ import annotations

import logging
import time

import pytorch_lightning as pl

log = logging.getLogger(__name__)


class EpochLines(pl.Callback):
    """Logs each epoch's losses, validation figure and speed."""

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._start = time.perf_counter()
        self._trained: float | None = None

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._trained = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        now = time.perf_counter()
        trained = self._trained or now  # an epoch without validation
        metrics = trainer.callback_metrics
        losses = " ".join(f"{k.rsplit('/', 1)[-1]} {v:.4f}" for k, v in metrics.items() if k.startswith("train/loss/"))
        log.info(
            "epoch %3d  %s  val/full/ndcg@10 %.4f  train %.1f s, validate %.1f s",
            trainer.current_epoch,
            losses,
            metrics.get("val/full/ndcg@10", float("nan")),
            trained - self._start,
            now - trained,
        )
