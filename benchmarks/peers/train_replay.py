"""RePlay's side: SasRec of ``replay.nn`` and Bert4Rec of ``replay.models.nn``; run by ``run.py`` in its own environment.

SasRec comes in two forms. ``default`` is ``SasRec.from_params`` with the library's own transforms: cross-entropy, logits at
every position of sequences padded to the length limit. ``trimmed`` puts together what the library has for short sequences:
batches trimmed to their longest sequence, rows of similar length encoded together, and ``LogInCE``, the softmax over the
catalogue at valid positions only (equal to cross-entropy up to 1e-6 inside the logarithm).

Bert4Rec reads the library's own data sets for it; cross-entropy, with tied embeddings as on all other sides.
"""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import lightning  # noqa: TID251
import pandas as pd
import torch
from exchange import Clock, Events, IntArray, batches, finish, read_events, read_settings
from replay.data import FeatureHint, FeatureSource, FeatureType
from replay.data.nn import PandasSequentialDataset, TensorFeatureInfo, TensorFeatureSource, TensorSchema
from replay.data.nn.parquet.parquet_module import ParquetModule
from replay.models.nn.optimizer_utils import FatOptimizerFactory
from replay.models.nn.sequential import Bert4Rec
from replay.models.nn.sequential.bert4rec import Bert4RecPredictionDataset, Bert4RecTrainingDataset
from replay.models.nn.sequential.callbacks import TorchPredictionCallback
from replay.models.nn.sequential.postprocessors import RemoveSeenItems
from replay.nn.agg import SumAggregator
from replay.nn.embedding import SequenceEmbedding
from replay.nn.lightning import LightningModule
from replay.nn.lightning.callback import TorchTopItemsCallback
from replay.nn.lightning.optimizer import OptimizerFactory
from replay.nn.lightning.postprocessor import SeenItemsFilter
from replay.nn.loss import LogInCE
from replay.nn.mask import DefaultAttentionMask
from replay.nn.sequential import (
    LengthBucketedQueryEncoder,
    PositionAwareAggregator,
    SasRec,
    SasRecBody,
    SasRecTransformerLayer,
)
from replay.nn.transform import AdaptiveTrimTransform, TargetAwareAdaptiveTrimTransform
from replay.nn.transform.template import make_default_sasrec_transforms

EVAL_BATCH = 512
BUCKET = 32  # rows encoded together in the trimmed form


class Rounds(lightning.Callback):
    """Tells the clock of every epoch's start, first step and end."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.clock.begin()

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx == 0:
            self.clock.first_step_ended()

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.clock.end("epoch")


def sequences(events: Events, shortest: int) -> pd.DataFrame:
    """One row a user: its items, 0-based, oldest first; users of at least ``shortest`` items."""
    users, lists = events.sequences()
    rows = pd.DataFrame({"user_id": users, "item_id": [items - 1 for items in lists]})
    return rows[rows["item_id"].map(len) >= shortest].reset_index(drop=True)


def schema(n_items: int, padding: int, dim: int) -> TensorSchema:
    return TensorSchema(
        [
            TensorFeatureInfo(
                "item_id",
                is_seq=True,
                feature_type=FeatureType.CATEGORICAL,
                feature_hint=FeatureHint.ITEM_ID,
                feature_sources=[TensorFeatureSource(FeatureSource.INTERACTIONS, "item_id")],
                cardinality=n_items,
                padding_value=padding,
                embedding_dim=dim,
            )
        ]
    )


def trainer(settings: dict[str, Any], callbacks: list[lightning.Callback]) -> lightning.Trainer:
    return lightning.Trainer(
        max_epochs=settings["epochs"],
        limit_train_batches=batches(settings),
        limit_val_batches=0,
        accelerator="cpu",
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def as_lists(result: tuple[torch.Tensor, ...]) -> IntArray:
    """A callback's users and items as lists by user, of our ids."""
    users, items, _ = result
    return items[users.argsort()].numpy() + 1


def sasrec(settings: dict[str, Any], tensors: TensorSchema, n_items: int) -> SasRec:
    dim, heads, dropout = settings["dim"], settings["heads"], settings["dropout"]
    blocks, length = settings["blocks"], settings["max_len"]
    if settings["form"] == "default":
        return SasRec.from_params(tensors, dim, heads, blocks, length, dropout)
    encoder = SasRecTransformerLayer(dim, heads, blocks, dropout, activation="relu")
    body = SasRecBody(
        embedder=SequenceEmbedding(tensors),
        embedding_aggregator=PositionAwareAggregator(SumAggregator(dim), length, dropout),
        attn_mask_builder=DefaultAttentionMask("item_id", heads),
        encoder=LengthBucketedQueryEncoder(encoder, BUCKET),
        output_normalization=torch.nn.LayerNorm(dim),
    )
    return SasRec(body, LogInCE(n_items))


def transforms(form: str, tensors: TensorSchema) -> dict[str, list[torch.nn.Module]]:
    """The library's own, with its trimming put in before features are grouped."""
    made = make_default_sasrec_transforms(tensors)
    if form == "trimmed":
        made["train"].insert(2, TargetAwareAdaptiveTrimTransform(["item_id", "positive_labels"]))
        made["predict"].insert(1, AdaptiveTrimTransform("item_id"))
    return made


def run_sasrec(settings: dict[str, Any], events: Events, n_items: int, clock: Clock) -> None:
    folder, length, k = Path(settings["folder"]), settings["max_len"], settings["k"]
    train, history = sequences(events.train, 2), sequences(events.history, 1)
    history["seen_ids"] = history["item_id"]
    train.to_parquet(folder / "train.parquet")
    history.to_parquet(folder / "history.parquet")
    tensors = schema(n_items, n_items, settings["dim"])
    longest = int(history["item_id"].map(len).max())
    padded = {"shape": length, "padding": n_items}
    data = ParquetModule(
        batch_size={"train": settings["batch_size"], "predict": EVAL_BATCH},
        metadata={
            "train": {"user_id": {}, "item_id": {"shape": length + 1, "padding": n_items}},
            "predict": {"user_id": {}, "item_id": padded, "seen_ids": {"shape": longest, "padding": n_items}},
        },
        transforms=transforms(settings["form"], tensors),
        train_path=str(folder / "train.parquet"),
        predict_path=str(folder / "history.parquet"),
    )
    model = LightningModule(
        sasrec(settings, tensors, n_items),
        optimizer_factory=OptimizerFactory(learning_rate=settings["lr"]),
    )
    trainer(settings, [Rounds(clock)]).fit(model, datamodule=data)

    def recommend() -> IntArray:
        top = TorchTopItemsCallback(k, "user_id", [SeenItemsFilter(n_items)])
        trainer(settings, [top]).predict(model, datamodule=data, return_predictions=False)
        return as_lists(top.get_result())

    steps = -(-len(train) // settings["batch_size"])
    finish(settings, clock, recommend, steps, ("replay-rec", "torch", "lightning"))


def run_bert4rec(settings: dict[str, Any], events: Events, n_items: int, clock: Clock) -> None:
    k, length = settings["k"], settings["max_len"]
    tensors = schema(n_items, 0, settings["dim"])  # padding is masked, so that any item's number may stand for it
    train, history = (
        PandasSequentialDataset(tensors, "user_id", "item_id", sequences(part, shortest))
        for part, shortest in ((events.train, 2), (events.history, 1))
    )
    model = Bert4Rec(
        tensors,
        block_count=settings["blocks"],
        head_count=settings["heads"],
        hidden_size=settings["dim"],
        max_seq_len=length,
        dropout_rate=settings["dropout"],
        enable_embedding_tying=True,
        optimizer_factory=FatOptimizerFactory(learning_rate=settings["lr"]),
    )
    masked = Bert4RecTrainingDataset(train, length, mask_prob=settings["mask_probability"])
    loader = torch.utils.data.DataLoader(masked, settings["batch_size"], shuffle=True)
    trainer(settings, [Rounds(clock)]).fit(model, loader)
    cases = torch.utils.data.DataLoader(Bert4RecPredictionDataset(history, length), EVAL_BATCH)

    def recommend() -> IntArray:
        top = TorchPredictionCallback(k, [RemoveSeenItems(history)])
        trainer(settings, [top]).predict(model, cases, return_predictions=False)
        return as_lists(top.get_result())

    finish(settings, clock, recommend, len(loader), ("replay-rec", "torch", "lightning"))


def main() -> None:
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    settings = read_settings()
    torch.set_num_threads(settings["threads"])
    lightning.seed_everything(settings["seed"], verbose=False)
    events = read_events(settings["events"])
    run = {"sasrec": run_sasrec, "bert4rec": run_bert4rec}[settings["model"]]
    run(settings, events, int(events.item.max()), Clock(settings))


if __name__ == "__main__":
    main()
