import logging
import warnings

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from sage_pl.training.callbacks.term_gradients import TermGradients, gradient_shares


class Parts(pl.LightningModule):
    """Gradients by hand: the recommendation loss (3, 4) in ``weight``; ``term`` (factor, 0)."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2))
        self.factor = factor
        self.weighted_losses: dict[str, Tensor] = {}

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        recommendation = (self.weight * torch.tensor([3.0, 4.0])).sum()
        self.weighted_losses = {"recommendation": recommendation, "term": self.factor * self.weight[0]}
        return torch.stack(list(self.weighted_losses.values())).sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(module: Parts, *callbacks: pl.Callback, epochs: int = 1) -> dict[str, float]:
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    made = pl.Trainer(max_epochs=epochs, accelerator="cpu", callbacks=list(callbacks), **quiet)  # type: ignore[arg-type]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made.fit(module, DataLoader(torch.zeros(3)))  # type: ignore[arg-type]
    return {name: float(value) for name, value in made.callback_metrics.items()}


@pytest.mark.parametrize(
    ("factor", "line"),
    [
        (
            0.005,
            "0.1 % of the recommendation loss's, so the term changes next to nothing; raise loss.terms.term.weight",
        ),
        (2.5, None),
        (-10.0, "200 % of the recommendation loss's, so the term outweighs it; lower loss.terms.term.weight"),
    ],
    ids=["inert", "heard", "louder"],
)
def test_a_term_that_does_nothing_or_all_gets_one_line(
    factor: float, line: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="sage_pl"):
        logged = fit(Parts(factor), TermGradients(every_n_epochs=1), epochs=3)
    assert logged["train/grad_share/term"] == pytest.approx(abs(factor) / 5)
    lines = [record.getMessage() for record in caplog.records if "gradient of the loss term" in record.getMessage()]
    assert len(lines) == (line is not None)
    assert line is None or lines[0].endswith(line)


def test_the_training_stays_the_same() -> None:
    watched, plain = Parts(2.5), Parts(2.5)
    fit(watched, TermGradients(every_n_epochs=1), epochs=2)
    fit(plain, epochs=2)
    assert torch.equal(watched.weight, plain.weight)


def test_sparse_gradients_and_absent_ones_are_measured() -> None:
    table, other = nn.Embedding(3, 1, sparse=True), nn.Linear(1, 1)
    rows = table(torch.tensor([1, 1])).sum()
    losses = {"recommendation": rows, "term": 3 * rows, "constant": torch.zeros(())}
    shares = gradient_shares(losses, [*table.parameters(), *other.parameters()])
    assert {name: share.item() for name, share in shares.items()} == {"term": 3}


def test_without_a_recommendation_loss_there_are_no_shares() -> None:
    weight = nn.Parameter(torch.ones(1))
    assert gradient_shares({"term": weight.sum()}, [weight]) == {}
    assert gradient_shares({"term": weight.sum(), "recommendation": 0 * weight.sum()}, [weight]) == {}
