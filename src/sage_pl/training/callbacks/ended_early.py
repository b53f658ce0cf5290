"""Early stopping of a run that is continued."""

from __future__ import annotations

import pytorch_lightning as pl
from pytorch_lightning.callbacks.early_stopping import EarlyStoppingReason


def ended_early(stopping: pl.callbacks.EarlyStopping) -> bool:
    """Whether early stopping ended the run: its patience is used up, or it stopped for another reason."""
    patient = (EarlyStoppingReason.NOT_STOPPED, EarlyStoppingReason.PATIENCE_EXHAUSTED)
    return stopping.wait_count >= stopping.patience or stopping.stopping_reason not in patient


class EndedEarly(pl.Callback):
    """Trains no further epoch where early stopping had ended the run that is continued.

    Lightning restores the counter of :class:`~pytorch_lightning.callbacks.EarlyStopping` but not its decision, and the
    checkpoint's ``patience`` in place of the configured one. Here the configured one counts, so that a run goes on where it
    was raised.
    """

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._patience = [stopping.patience for stopping in trainer.early_stopping_callbacks]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for stopping, patience in zip(trainer.early_stopping_callbacks, self._patience, strict=True):
            stopping.patience = patience
            if ended_early(stopping):
                trainer.should_stop = True
