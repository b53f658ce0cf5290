"""A whole model whose step does not grow with the catalogue: sampled negatives, sparse gradients, RowAdam."""

import functools
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from sage_pl.data.datamodule import SequenceDataModule
from sage_pl.nn.item_encoders.id import IdEncoder
from sage_pl.nn.modules.sequential import SequentialRecommender
from sage_pl.nn.objectives.sampled_softmax import SampledSoftmax
from sage_pl.nn.sequence_encoders.single import SingleView
from sage_pl.training.optimizers.row_adam import RowAdam
from tests.golden.prepared import N_ITEMS, Artifacts, adam, make_backbone, make_targets

LR = 0.01


def model_of(artifacts: Artifacts, sparse: bool, optimizer: Any = None) -> SequentialRecommender:
    torch.manual_seed(0)
    backbone, encoder = make_backbone("sasrec"), IdEncoder(N_ITEMS, dim=8, sparse=sparse)
    objective = SampledSoftmax(artifacts.sequences, negatives=4)
    optimizer = optimizer or functools.partial(RowAdam, lr=LR)
    return SequentialRecommender(
        encoder, SingleView(backbone), make_targets("sasrec"), objective, {}, optimizer
    ).double()


def trainer(folder: Path, **options: Any) -> pl.Trainer:
    quiet = {
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
    }
    return pl.Trainer(default_root_dir=folder, limit_val_batches=0, accelerator="cpu", **quiet, **options)


def fitted(model: SequentialRecommender, data: SequenceDataModule, folder: Path, **options: Any) -> dict[str, Tensor]:
    torch.manual_seed(1)
    trainer(folder, **options).fit(model, data)
    return model.state_dict()


def test_the_first_step_is_that_of_adam(artifacts: Artifacts, datamodule: SequenceDataModule, tmp_path: Path) -> None:
    """Adam moves no row in its first step either that has no gradient; eps is tiny, since it stands elsewhere."""
    row_adam, adam = (functools.partial(kind, lr=LR, eps=1e-16) for kind in (RowAdam, torch.optim.Adam))
    before = model_of(artifacts, True).state_dict()
    found = fitted(model_of(artifacts, True, row_adam), datamodule, tmp_path, max_steps=1)
    expected = fitted(model_of(artifacts, False, adam), datamodule, tmp_path, max_steps=1)
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=0)
    moved = (found["item_encoder.table.weight"] != before["item_encoder.table.weight"]).any(1)
    assert 0 < moved.sum() < N_ITEMS


def test_only_rows_of_the_step_have_a_gradient(artifacts: Artifacts, datamodule: SequenceDataModule) -> None:
    model = model_of(artifacts, True)
    batch = next(iter(datamodule.train_dataloader()))
    batch = model.on_before_batch_transfer(batch, 0)
    model.training_step(batch, 0).backward()
    gradient = model.item_encoder.table.weight.grad.coalesce()  # type: ignore[union-attr]
    used = torch.cat([batch["items"].flatten(), batch["targets"].flatten(), batch["draws"]["recommendation"]]).unique()
    assert set(gradient.indices()[0].tolist()) == set(used.tolist()) - {0}


def test_resuming_a_fit_is_exact(artifacts: Artifacts, datamodule: SequenceDataModule, tmp_path: Path) -> None:
    class Seeded(pl.Callback):
        def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            torch.manual_seed(trainer.current_epoch)

    def fit(model: SequentialRecommender, epochs: int, start: str | None = None) -> pl.Trainer:
        run = trainer(tmp_path, max_epochs=epochs, callbacks=[Seeded()])
        run.fit(model, datamodule, ckpt_path=start, weights_only=True)
        return run

    whole, half, rest = (model_of(artifacts, True) for _ in range(3))
    fit(whole, 3)
    file = str(tmp_path / "half.ckpt")
    fit(half, 1).save_checkpoint(file)
    fit(rest, 3, file)
    assert not torch.equal(half.item_encoder.table.weight, rest.item_encoder.table.weight)  # type: ignore[union-attr]
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, rest.state_dict()[name]), name


def test_adam_and_clipping_say_that_they_cannot(
    artifacts: Artifacts, datamodule: SequenceDataModule, tmp_path: Path
) -> None:
    with pytest.raises(RuntimeError, match="does not support sparse gradients"):
        fitted(model_of(artifacts, True, adam), datamodule, tmp_path, max_steps=1)
    settings = (
        r"gradient_clip_val=0.1 .* of item_encoder.table; set trainer.gradient_clip_val=null, or item_encoder.sparse"
    )
    with pytest.raises(ValueError, match=settings):
        fitted(model_of(artifacts, True), datamodule, tmp_path, max_steps=1, gradient_clip_val=0.1)
    assert fitted(model_of(artifacts, False), datamodule, tmp_path, max_steps=1, gradient_clip_val=0.1)
