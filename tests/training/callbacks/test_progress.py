import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import rich
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from sage_pl.training.callbacks.progress import Progress

FIGURE = "val/full/ndcg@10"


class Model(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        self.log("train/loss/prototype", 0.125, on_step=False, on_epoch=True, batch_size=1)
        return (self.weight * 0.75).sum()

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        self.log(FIGURE, 0.0625, batch_size=1)

    def on_train_epoch_end(self) -> None:
        logging.getLogger("a.log").warning("a line of epoch %d", self.current_epoch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "160")
    rich.reconfigure()
    yield
    monkeypatch.undo()
    rich.reconfigure()


def fit(folder: Path) -> None:
    data = DataLoader([{"user": torch.tensor(1)}] * 3, batch_size=2)  # type: ignore[arg-type]
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_model_summary"), False)
    trainer: Any = pl.Trainer(
        max_epochs=2, accelerator="cpu", callbacks=[Progress(FIGURE)], default_root_dir=folder, **quiet
    )  # type: ignore[arg-type]
    handler = logging.StreamHandler(sys.stdout)
    handler.addFilter(lambda record: record.name == "a.log")
    logging.getLogger().addHandler(handler)
    try:
        trainer.fit(Model(), data, data)
    finally:
        logging.getLogger().removeHandler(handler)


@pytest.mark.usefixtures("terminal")
def test_a_terminal_shows_losses_speed_and_the_figure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(tmp_path)
    shown = capsys.readouterr().out
    for text in ("Epoch 1/1", "users/s: ", "loss: 0.750", "ndcg@10: 0.0625"):
        assert text in shown, text
    assert "it/s" not in shown
    assert "prototype" not in shown  # the log lines have every term
    assert "a line of epoch 0\n" in shown  # a line of its own, not within the bar


def test_without_a_terminal_there_is_nothing_but_log_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(tmp_path)
    assert capsys.readouterr().out == "a line of epoch 0\na line of epoch 1\n"
