"""Averaged weights of a training, in place of the last ones."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EMAWeightAveraging
from pytorch_lightning.trainer.states import TrainerFn

from sage_pl.ranges import Share


class AveragedWeights(EMAWeightAveraging):
    """``a <- decay a + (1 - decay) w`` after a step; ``a`` is validated, tested, stored and served, ``w`` is trained on.

    A checkpoint has ``a`` as its weights, and ``w`` beside them to continue from, so it is twice as large. Buffers are those of
    the last step.

    Differs from Lightning's callback: buffers are never averaged, since many of them are ids, and a test of a checkpoint
    keeps its averaged weights, where Lightning's loads ``w`` if the same trainer has trained before.

    Args:
        decay: share of the average that a step keeps; about the last 1 / (1 - decay) steps count.
    """

    def __init__(self, decay: Share = 0.999) -> None:
        super().__init__(use_buffers=False, decay=decay)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The average lives where the model does, which Lightning moves to its device after ``setup``."""
        if self._average_model is not None:
            self._average_model.to(pl_module.device)

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if trainer.state.fn == TrainerFn.FITTING:
            super().on_load_checkpoint(trainer, pl_module, checkpoint)
