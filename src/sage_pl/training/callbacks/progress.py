"""The progress bar of a terminal."""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import RichProgressBar
from rich import get_console

from sage_pl.types import SeqBatch

_PER_SECOND = 5  # updates of the line


class Progress(RichProgressBar):
    """Lightning's bar with this epoch's speed and loss, and the last validation's metric.

    Log lines are printed above the bar; those of :class:`EpochLines` have every loss term. No-op outside a terminal.

    Args:
        monitor: the validation's metric, such as ``val/full/ndcg@10``.
    """

    def __init__(self, monitor: str) -> None:
        super().__init__(refresh_rate=_PER_SECOND)
        self.monitor = monitor
        self._this_epoch: dict[str, str] = {}
        self._last_epoch: dict[str, str] = {}
        if not get_console().is_terminal:
            self.disable()

    def configure_columns(self, trainer: pl.Trainer) -> list:
        description, bar, *others = super().configure_columns(trainer)[:-1]  # without Lightning's steps per second
        bar.bar_width = 12
        return [description, bar, *others]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        terminal = sys.stdout
        super().on_train_start(trainer, pl_module)  # from here on sys.stdout prints above the bar
        for handler in logging.getLogger().handlers:
            if isinstance(handler, logging.StreamHandler) and handler.stream is terminal:
                handler.setStream(sys.stdout)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._users, self._start, self._last_update = 0, time.perf_counter(), 0.0
        super().on_train_epoch_start(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: SeqBatch, batch_idx: int
    ) -> None:
        self._users += len(batch["user"])
        now = time.perf_counter()
        if self.is_enabled and now - self._last_update >= 1 / _PER_SECOND:  # reading a loss synchronises
            self._last_update = now
            speed = self._users / (now - self._start)
            self._this_epoch = {"users/s": f"{speed:,.0f}", "loss": f"{outputs['loss'].item():.3f}"}
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        metrics = trainer.callback_metrics
        if self.monitor in metrics:
            self._last_epoch = {self.monitor.rsplit("/", 1)[-1]: f"{metrics[self.monitor]:.4f}"}
        super().on_train_epoch_end(trainer, pl_module)

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        return {**self._this_epoch, **self._last_epoch}
