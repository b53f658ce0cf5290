"""One log line per epoch, readable in files too."""

from __future__ import annotations

import logging

import pytorch_lightning as pl

log = logging.getLogger(__name__)


class EpochLines(pl.Callback):
    """Logs each epoch's losses and validation metric, and its times if :class:`Speed` is an earlier callback.

    Args:
        monitor: the metric.
    """

    def __init__(self, monitor: str = "val/full/ndcg@10") -> None:
        self.monitor = monitor

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._validated = False

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._validated = True

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        metrics = trainer.callback_metrics
        losses = " ".join(f"{k.rsplit('/', 1)[-1]} {v:.4f}" for k, v in metrics.items() if k.startswith("train/loss/"))
        nan = float("nan")
        line = f"epoch {trainer.current_epoch:3d}  {losses}  train {metrics.get('train/seconds', nan):.1f} s"
        if self._validated:
            line += f"  {self.monitor} {metrics.get(self.monitor, nan):.4f}"
            line += f"  validate {metrics.get('val/seconds', nan):.1f} s"
        log.info("%s", line)
