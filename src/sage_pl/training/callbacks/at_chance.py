"""Loss terms that stay where they are if nothing is known."""

from __future__ import annotations

import logging
from typing import Any

import pytorch_lightning as pl

from sage_pl.ranges import Count

log = logging.getLogger(__name__)

NEAR = 0.98


class AtChance(pl.Callback):
    """One line for each loss term whose mean over an epoch is above 98 % of :meth:`LossTerm.chance` after some epochs.

    Args:
        after_epochs: epochs that a term has to leave it.
    """

    def __init__(self, after_epochs: Count = 3) -> None:
        self.after_epochs = after_epochs
        self._reported: set[str] = set()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch + 1 < self.after_epochs:
            return
        module: Any = pl_module
        for name, term in module.terms.items():
            chance, value = term.chance(module.item_encoder.n_items), trainer.callback_metrics.get(f"train/loss/{name}")
            if chance is None or value is None or name in self._reported or value < NEAR * chance:
                continue
            self._reported.add(name)
            log.warning(
                "the loss term %s is %.2f after %d epochs, and %.2f where nothing is known, so it has learned nothing; leave "
                "it out with loss.terms.%s.weight=0, or look for a scale or a rate that does not fit",
                *(name, value, trainer.current_epoch + 1, chance, name),
            )
