import warnings
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from sage_pl.training.callbacks.gradient_norms import GradientNorms, norms


class Parts(pl.LightningModule):
    """Gradients by hand: 3 and -4 in ``head``, 12 in row 1 of ``table``; ``idle`` gets none."""

    def __init__(self, sparse: bool = False) -> None:
        super().__init__()
        self.head = nn.Linear(2, 1, bias=False)
        self.table = nn.Embedding(3, 1, sparse=sparse)
        self.idle = nn.Linear(1, 1)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        rows = self.table(torch.tensor([1, 1]))  # twice 6
        return (self.head.weight * torch.tensor([3.0, -4.0])).sum() + 6 * rows.sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(callback: GradientNorms, n_steps: int = 1, **trainer: Any) -> dict[str, float]:
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    made = pl.Trainer(max_epochs=1, accelerator="cpu", callbacks=[callback], **quiet, **trainer)  # type: ignore[arg-type]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made.fit(Parts(), DataLoader(torch.zeros(n_steps)))  # type: ignore[arg-type]
    return {name: float(value) for name, value in made.callback_metrics.items()}


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
def test_by_hand(sparse: bool) -> None:
    module = Parts(sparse)
    module.training_step(torch.zeros(1), 0).backward()
    found = {name: float(value) for name, value in norms(module).items()}
    assert found == {"train/grad_norm/head": 5, "train/grad_norm/table": 12, "train/grad_norm": 13}


def test_without_gradients_there_are_no_norms() -> None:
    assert norms(Parts()) == {}


def test_what_is_logged_is_the_gradient_before_clipping() -> None:
    assert fit(GradientNorms(), gradient_clip_val=1.0)["train/grad_norm"] == pytest.approx(13)


def test_measured_every_n_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = iter([1.0, 4.0])
    monkeypatch.setattr(
        "sage_pl.training.callbacks.gradient_norms.norms",
        lambda module: {"train/grad_norm": torch.tensor(next(measured))},
    )
    assert fit(GradientNorms(every_n_steps=3), n_steps=6) == {"train/grad_norm": 2.5}  # steps 0 and 3
    assert next(measured, None) is None


def test_never_is_refused() -> None:
    with pytest.raises(ValueError, match="every_n_steps is 0"):
        GradientNorms(every_n_steps=0)
