import importlib.metadata
import json
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch

from sage_pl.training.callbacks import footprint
from sage_pl.training.callbacks.footprint import Footprint


class Model(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.items = torch.nn.Embedding(7, 3)
        self.states = torch.nn.Linear(3, 2)
        self.states.bias.requires_grad = False
        self.states.register_buffer("text", torch.zeros(5, 4))

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        return self.states(self.items(batch)).sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def trained(tmp_path: Path) -> dict:
    trainer = pl.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[Footprint(str(tmp_path / "run"))], default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(Model(), torch.utils.data.DataLoader(torch.arange(6), batch_size=3))
    return json.loads((tmp_path / "run" / "footprint.json").read_text())


def test_writes_what_a_run_took(tmp_path: Path) -> None:
    record = trained(tmp_path)
    assert record["parameters"] == {"items": 21, "states": 6}
    assert record["constants"] == {"states": 20}
    assert record["device"].startswith("cpu, ")
    assert record["memory"]["accelerator"] is None
    assert 50_000_000 < record["memory"]["process"] < 100_000_000_000  # bytes, not kilobytes
    assert record["versions"]["torch"] == importlib.metadata.version("torch")  # torch.__version__ names CUDA too
    assert "sage-pl" in record["versions"]


def test_a_package_that_is_not_installed_loses_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(footprint, "_LIBRARIES", ("torch", "no-such-package"))
    versions = trained(tmp_path)["versions"]
    assert versions["no-such-package"] is None
    assert versions["torch"] == importlib.metadata.version("torch")
