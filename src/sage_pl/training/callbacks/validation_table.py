"""A table of the validation's groups on the terminal, at every improvement."""

from __future__ import annotations

import pytorch_lightning as pl
from rich.console import Console

from sage_pl.evaluation.table import results_table, select


class ValidationTable(pl.Callback):
    """Prints the groups of each validation that is the best so far, beside the previous best. No-op outside a terminal.

    Args:
        monitor: the validation's metric, such as ``val/full/ndcg@10``; its protocol is printed.
    """

    def __init__(self, monitor: str) -> None:
        self.monitor = monitor
        self._best: dict[str, dict[str, float]] = {}

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        console = Console()
        if trainer.sanity_checking or not trainer.is_global_zero or not console.is_terminal:
            return
        metrics = select({name: float(value) for name, value in trainer.callback_metrics.items()}, "val")
        name = self.monitor.removeprefix("val/")
        if any(metrics[name] <= before[name] for before in self._best.values()):
            return
        rows = {**self._best, f"epoch {trainer.current_epoch}": metrics}
        console.print(results_table(rows, name.split("/")[0]))
        self._best = {f"epoch {trainer.current_epoch}": metrics}
