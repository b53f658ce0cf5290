import logging
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from sage_pl.training.callbacks.epoch_lines import EpochLines

METRICS = {
    "train/loss": torch.tensor(3.0),
    "train/loss/recommendation": torch.tensor(2.5),
    "train/loss/prototype": torch.tensor(0.125),
    "train/seconds": torch.tensor(12.34),
}


def line(callback: EpochLines, caplog: pytest.LogCaptureFixture, validated: bool) -> str:
    more = {"val/full/ndcg@10": torch.tensor(0.0625), "val/seconds": torch.tensor(1.25)}
    trainer: Any = SimpleNamespace(current_epoch=7, callback_metrics=METRICS | more if validated else METRICS)
    module: Any = None
    caplog.clear()
    with caplog.at_level(logging.INFO):
        callback.on_train_epoch_start(trainer, module)
        if validated:
            callback.on_validation_end(trainer, module)
        callback.on_train_epoch_end(trainer, module)
    (message,) = caplog.messages
    return message


def test_one_line_holds_every_loss_and_the_validation_figure(caplog: pytest.LogCaptureFixture) -> None:
    assert line(EpochLines("val/full/ndcg@10"), caplog, validated=True) == (
        "epoch   7  recommendation 2.5000 prototype 0.1250  train 12.3 s  val/full/ndcg@10 0.0625  validate 1.2 s"
    )


def test_an_epoch_without_validation_has_its_line_too(caplog: pytest.LogCaptureFixture) -> None:
    callback = EpochLines("val/full/ndcg@10")
    line(callback, caplog, validated=True)
    message = line(callback, caplog, validated=False)
    assert message.endswith("prototype 0.1250  train 12.3 s")
