"""RecTools' side: SASRecModel and BERT4RecModel with ``loss="softmax"``; run by ``run.py`` in its own environment.

The library's items are those of its training users, so it never recommends an item that is new in a test history. Its inputs
are always padded to ``session_max_len``. BERT4Rec's feed-forward layers are as wide as the states here, as on our side.

``rectools.fast_transformers`` is not measured: it has no trainer for a model with a table of items alone.
"""

from __future__ import annotations

import logging
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from exchange import Clock, Events, IntArray, batches, finish, read_events, read_settings
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import BERT4RecModel, SASRecModel
from rectools.models.nn.item_net import IdEmbeddingsItemNet


class Rounds(pl.Callback):
    """Tells the clock of every epoch's start, first step and end."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.clock.begin()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx == 0:
            self.clock.first_step_ended()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.clock.end("epoch")


def dataset(events: Events) -> Dataset:
    day = pd.Timestamp("2020-01-01")
    frame = pd.DataFrame(
        {
            Columns.User: events.user,
            Columns.Item: events.item,
            Columns.Weight: 1.0,
            Columns.Datetime: day + pd.to_timedelta(events.position, unit="s"),
        }
    )
    return Dataset.construct(frame)


def build(settings: dict[str, Any], clock: Clock) -> SASRecModel | BERT4RecModel:
    def trainer() -> pl.Trainer:
        return pl.Trainer(
            max_epochs=settings["epochs"],
            limit_train_batches=batches(settings),
            accelerator="cpu",
            callbacks=[Rounds(clock)],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )

    shared = {
        "n_factors": settings["dim"],
        "n_blocks": settings["blocks"],
        "n_heads": settings["heads"],
        "dropout_rate": settings["dropout"],
        "session_max_len": settings["max_len"],
        "batch_size": settings["batch_size"],
        "lr": settings["lr"],
        "loss": "softmax",
        "item_net_block_types": (IdEmbeddingsItemNet,),
        "get_trainer_func": trainer,
    }
    if settings["model"] == "sasrec":
        return SASRecModel(**shared)
    wide = {"ff_factors_multiplier": 1}
    return BERT4RecModel(**shared, mask_prob=settings["mask_probability"], transformer_layers_kwargs=wide)


def recommend(model: SASRecModel | BERT4RecModel, users: IntArray, known: Dataset, k: int) -> IntArray:
    reco = model.recommend(users, known, k=k, filter_viewed=True, on_unsupported_targets="ignore")
    top = np.zeros((len(users), k), dtype=np.int64)
    rows = np.searchsorted(users, reco[Columns.User].to_numpy())
    top[rows, reco[Columns.Rank].to_numpy() - 1] = reco[Columns.Item].to_numpy()
    return top


def main() -> None:
    warnings.filterwarnings("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    settings = read_settings()
    torch.set_num_threads(settings["threads"])
    pl.seed_everything(settings["seed"], verbose=False)
    events, clock = read_events(settings["events"]), Clock(settings)
    known = dataset(events.history)
    model = build(settings, clock)
    model.fit(dataset(events.train))
    steps = len(model.data_preparator.get_dataloader_train())
    users, k = events.test.user, settings["k"]
    about = ("rectools", "torch", "pytorch-lightning")
    finish(settings, clock, lambda: recommend(model, users, known, k), steps, about)


if __name__ == "__main__":
    main()
