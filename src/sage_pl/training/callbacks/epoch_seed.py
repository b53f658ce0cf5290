"""Randomness of each epoch as a function of (seed, epoch) alone."""

from __future__ import annotations

import pytorch_lightning as pl

from sage_pl import processes
from sage_pl.ranges import Seed


class EpochSeed(pl.Callback):
    """Seeds torch at the start of every training epoch.

    Dropout, masking and negatives then depend on the seed and the epoch's number alone, as does the order of the batches
    (Lightning calls the sampler's ``set_epoch``). So a run that is resumed at an epoch's end continues bit for bit without
    a random state in the checkpoint. Several processes draw masks and negatives alike, and dropout each its own.

    Args:
        seed: the run's seed.
    """

    def __init__(self, seed: Seed) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        processes.seed(self.seed * 1_000_003 + trainer.current_epoch)
