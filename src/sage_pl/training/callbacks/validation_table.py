"""A table of the validation's groups on the terminal, at every improvement."""

from __future__ import annotations

import pytorch_lightning as pl
from rich.console import Console

from sage_pl.evaluation.floors import best_floor, label
from sage_pl.evaluation.table import results_table, select
from sage_pl.training.callbacks.ranking_evaluation import RankingEvaluation


class ValidationTable(pl.Callback):
    """Prints the groups of each validation that is the best so far, beside the best floor and the previous best. No-op outside
    a terminal.

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
        protocol = name.split("/")[0]
        rows = {**_floor(trainer, protocol), **self._best, f"epoch {trainer.current_epoch}": metrics}
        console.print(results_table(rows, protocol))
        self._best = {f"epoch {trainer.current_epoch}": metrics}


def _floor(trainer: pl.Trainer, protocol: str) -> dict[str, dict[str, float]]:
    """The row of the best floor of the validation cases."""
    evaluations = [one for one in trainer.callbacks if isinstance(one, RankingEvaluation)]  # type: ignore[attr-defined]
    metrics = {name: value for one in evaluations for name, value in one.floor_metrics("valid").items()}
    floor = best_floor(metrics, protocol)
    return {label(floor): of_floor} if (of_floor := select(metrics, f"floor/{floor}")) else {}
