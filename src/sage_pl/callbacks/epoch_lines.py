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
        validated = self._trained is not None
        trained = now if self._trained is None else self._trained
        metrics = trainer.callback_metrics
        losses = " ".join(f"{k.rsplit('/', 1)[-1]} {v:.4f}" for k, v in metrics.items() if k.startswith("train/loss/"))
        line = f"epoch {trainer.current_epoch:3d}  {losses}  train {trained - self._start:.1f} s"
        if validated:
            score = metrics.get("val/full/ndcg@10", float("nan"))
            line += f"  val/full/ndcg@10 {score:.4f}  validate {now - trained:.1f} s"
        log.info("%s", line)
