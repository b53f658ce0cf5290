"""The groups of each validation that is the best so far, as a line on the terminal."""

from __future__ import annotations

import pytorch_lightning as pl
from rich.console import Console

from sage_pl.evaluation.floors import best_floor
from sage_pl.evaluation.table import GROUPS, select
from sage_pl.training.callbacks.ranking_evaluation import RankingEvaluation


class ValidationTable(pl.Callback):
    """Prints one line per improvement, with the best floor beside the overall figure; the table comes once, with the test.
    No-op outside a terminal.

    Args:
        monitor: the validation's metric, such as ``val/full/ndcg@10``.
    """

    def __init__(self, monitor: str) -> None:
        self.monitor = monitor
        self._best: float | None = None

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        console = Console()
        if trainer.sanity_checking or not trainer.is_global_zero or not console.is_terminal:
            return
        metrics = select({name: float(value) for name, value in trainer.callback_metrics.items()}, "val")
        name = self.monitor.removeprefix("val/")
        if self._best is not None and metrics[name] <= self._best:
            return
        self._best = metrics[name]
        figures = {"": metrics[name]} | {f" {group}": metrics.get(f"{name}/{group}") for group in GROUPS[1:]}
        texts = [f"{group} {100 * value:.2f}".strip() for group, value in figures.items() if value is not None]
        texts[0] += _floor(trainer, name)
        console.print(f"best so far, {name} in %: {', '.join(texts)}", highlight=False)


def _floor(trainer: pl.Trainer, name: str) -> str:
    """The best floor of the validation cases, in brackets."""
    evaluations = [one for one in trainer.callbacks if isinstance(one, RankingEvaluation)]  # type: ignore[attr-defined]
    metrics = {key: value for one in evaluations for key, value in one.floor_metrics("valid").items()}
    floor = best_floor(metrics, name.split("/")[0])
    value = metrics.get(f"floor/{floor}/{name}")
    return "" if value is None else f" (floor {floor} {100 * value:.2f})"
