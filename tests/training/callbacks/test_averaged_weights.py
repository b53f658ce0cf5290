"""Averaged weights by hand, where they are read, and what Lightning's own callback does instead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EMAWeightAveraging, ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader

from sage_pl.training.callbacks.averaged_weights import AveragedWeights

DECAY, RATE, STEPS = 0.9, 0.1, 8


class Falling(pl.LightningModule):
    """One weight that goes from 0 towards 1, and a buffer of ids."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.register_buffer("ids", torch.tensor([5, 7, 9]))
        self.ids: Tensor
        self.seen: dict[str, Any] = {}

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return (self.weight - 1).square().sum()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.seen["validated"] = self.weight.item()

    def test_step(self, batch: Tensor, batch_idx: int) -> None:
        self.seen["tested"] = self.weight.item()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=RATE)

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader([0] * (STEPS // 2))  # type: ignore[arg-type]

    val_dataloader = test_dataloader = train_dataloader


def fitted(callback: pl.Callback, folder: Path) -> tuple[Falling, dict[str, Any]]:
    """Two epochs, then a test of the checkpoint by the same trainer."""
    model, last = Falling(), ModelCheckpoint(folder, "last", enable_version_counter=False)
    quiet: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = pl.Trainer(max_epochs=2, callbacks=[callback, last], accelerator="cpu", default_root_dir=folder, **quiet)
    trainer.fit(model)
    trainer.test(model, ckpt_path=last.best_model_path, weights_only=True, verbose=False)
    return model, torch.load(last.best_model_path, weights_only=True)


def test_the_average_is_validated_tested_and_stored_and_the_last_weight_beside_it(tmp_path: Path) -> None:
    weight, average = 0.0, None
    for _ in range(STEPS):
        weight -= RATE * 2 * (weight - 1)
        average = weight if average is None else DECAY * average + (1 - DECAY) * weight
    model, stored = fitted(AveragedWeights(DECAY), tmp_path)
    assert stored["state_dict"]["weight"].item() == pytest.approx(average)
    assert stored["current_model_state"]["weight"].item() == pytest.approx(weight)
    assert model.seen == {"validated": pytest.approx(average), "tested": pytest.approx(average)}
    assert model.ids.tolist() == stored["state_dict"]["ids"].tolist() == [5, 7, 9]


def test_why_lightnings_own_callback_is_not_used(tmp_path: Path) -> None:
    """It averages ids, and a test after a training reads the last weights; where this fails, ours may go."""
    model, stored = fitted(EMAWeightAveraging(decay=DECAY), tmp_path)
    assert stored["state_dict"]["ids"].tolist() != [5, 7, 9]
    assert (
        model.seen["tested"] == stored["current_model_state"]["weight"].item() != stored["state_dict"]["weight"].item()
    )
