"""What runs on a GPU is what runs on the processor, and no step waits for it; skipped where there is none."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import pytorch_lightning as pl
import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor

from sage_pl.data.datamodule import SequenceDataModule
from sage_pl.nn.modules.sequential import SequentialRecommender
from sage_pl.types import SeqBatch
from tests.golden.prepared import BACKBONES
from tests.nn.modules.conftest import MakeModel

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")

METHODS = pytest.mark.parametrize("sage", [False, True], ids=["plain", "sage"])


def on_gpu(batch: SeqBatch) -> SeqBatch:
    return apply_to_collection(batch, Tensor, lambda tensor: tensor.to("cuda", non_blocking=True))


@contextmanager
def waiting_is_an_error() -> Iterator[None]:
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def loss_and_gradients(model: SequentialRecommender, batch: SeqBatch) -> tuple[Tensor, dict[str, Tensor]]:
    model.zero_grad()
    loss = model.training_step(batch, 0)
    loss.backward()
    model.means.take()  # they are kept where the model is
    return loss.detach().cpu(), {
        name: p.grad.detach().cpu() for name, p in model.named_parameters() if p.grad is not None
    }


@METHODS
@pytest.mark.parametrize("backbone", BACKBONES)
def test_loss_and_gradients_are_those_of_the_processor(
    backbone: str, sage: bool, make_model: MakeModel, datamodule: SequenceDataModule
) -> None:
    model = make_model(backbone, sage).double()
    for batch in datamodule.train_dataloader():
        prepared = model.on_before_batch_transfer(batch, 0)
        expected, gradients = loss_and_gradients(model.cpu(), prepared)
        loss, found = loss_and_gradients(model.cuda(), on_gpu(prepared))
        torch.testing.assert_close(loss, expected, rtol=0, atol=1e-9)
        assert found.keys() == gradients.keys()
        for name, gradient in gradients.items():
            torch.testing.assert_close(found[name], gradient, rtol=0, atol=1e-9, msg=f"gradient of {name}")
        model.cpu()


@METHODS
@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_host_never_waits_in_a_step(
    backbone: str, sage: bool, make_model: MakeModel, datamodule: SequenceDataModule
) -> None:
    model = make_model(backbone, sage).cuda()
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    for number, batch in enumerate(datamodule.train_dataloader()):
        prepared = model.on_before_batch_transfer(batch, 0)
        assert prepared["items"].is_pinned()
        if number == 0:  # libraries set themselves up
            model.training_step(on_gpu(prepared), 0).backward()
        with waiting_is_an_error():
            optimizer.zero_grad()
            model.training_step(on_gpu(prepared), 0).backward()
            optimizer.step()


@METHODS
@pytest.mark.parametrize("backbone", BACKBONES)
def test_ranks_and_recommendations_are_those_of_the_processor(
    backbone: str, sage: bool, make_model: MakeModel, datamodule: SequenceDataModule
) -> None:
    model = make_model(backbone, sage).double().eval()
    for batch in datamodule.test_dataloader():
        expected, ten = model.answer_ranks(batch), model.recommend(batch["items"], 3)
        model.cuda()
        found, there = model.answer_ranks(on_gpu(batch)), model.recommend(batch["items"].cuda(), 3)
        model.cpu()
        assert {name: ranks.tolist() for name, ranks in found.items()} == {
            name: ranks.tolist() for name, ranks in expected.items()
        }
        assert there.ids.tolist() == ten.ids.tolist()


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@METHODS
@pytest.mark.parametrize("backbone", BACKBONES)
def test_training_there_lowers_the_loss(
    backbone: str, sage: bool, precision: str, make_model: MakeModel, datamodule: SequenceDataModule
) -> None:
    model, logged = make_model(backbone, sage), []
    trainer = pl.Trainer(
        accelerator="gpu",
        precision=precision,
        max_epochs=25,
        logger=False,
        limit_val_batches=0,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[
            pl.callbacks.LambdaCallback(
                on_train_epoch_end=lambda trainer, _: logged.append(trainer.callback_metrics["train/loss"].item())
            )
        ],
    )
    trainer.fit(model, datamodule)
    assert logged[-1] < 0.95 * logged[0]
