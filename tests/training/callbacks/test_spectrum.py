"""The spectrum of the item vectors, by hand and where Lightning calls it."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from pathlib import Path
from unittest.mock import Mock

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from sage_pl.nn.item_encoders.id import IdEncoder
from sage_pl.nn.modules.sequential import SequentialRecommender
from sage_pl.nn.sequence_encoders.single import SingleView
from sage_pl.training.callbacks import spectrum as callback
from sage_pl.training.callbacks.spectrum import Spectrum, gram_of_items, spectrum
from sage_pl.types import Views
from tests.golden.prepared import make_backbone, make_targets, normal

HAND = torch.tensor([[0.0, 3.0], [0.0, 0.0], [1.0, 0.0]])  # singular values 3 and 1
HAND_RANK = math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))


def table_of(vectors: Tensor) -> Tensor:
    """Items between rows that must not count."""
    width = vectors.shape[1]
    return torch.cat([torch.full((1, width), 50.0), vectors, torch.full((1, width), -70.0)])


def spectrum_of(vectors: Tensor) -> dict[str, Tensor]:
    return spectrum(gram_of_items(table_of(vectors)))


class Items:
    """Three items: what is scored, and a view beside it whose first two items are alike."""

    n_items, output_dim = len(HAND), 2
    input_dims = {"own": 2, "text": 3}  # noqa: RUF012
    tables = {"own": table_of(HAND), "text": table_of(torch.eye(3)[[0, 0, 1]])}  # noqa: RUF012 - singular values 2 ** 0.5, 1, 0

    def views(self, ids: Tensor, names: Collection[str] | None = None) -> Views:
        return {name: table[ids] for name, table in self.tables.items() if names is None or name in names}

    def output(self, views: Views) -> Tensor:
        return views["own"]


class Module(pl.LightningModule):
    item_encoder = Items()

    def output_table(self) -> Tensor:
        return table_of(HAND)

    def validation_step(self, batch: Tensor, batch_idx: int) -> None: ...


def test_by_hand() -> None:
    values = spectrum_of(HAND)
    assert values["effective_rank"].item() == pytest.approx(HAND_RANK)
    assert values["largest_share"].item() == pytest.approx(0.75)


def test_equals_the_singular_value_decomposition() -> None:
    vectors = normal(30, 6) * torch.tensor([1e3, 10, 1, 0.1, 1e-3, 1e-4])
    share = torch.linalg.svdvals(vectors)
    share = share / share.sum()
    values = spectrum_of(vectors)
    torch.testing.assert_close(values["effective_rank"], (-(share * share.log()).sum()).exp(), atol=0, rtol=1e-6)
    torch.testing.assert_close(values["largest_share"], share.max(), atol=0, rtol=1e-6)


@pytest.mark.parametrize("block", [1, 4, 30])
def test_blocks_of_items_add_up(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callback, "_BLOCK", block)
    vectors = normal(30, 6)
    torch.testing.assert_close(gram_of_items(table_of(vectors)), vectors.T @ vectors)


@pytest.mark.parametrize(
    ("vectors", "rank", "largest"),
    [
        (torch.eye(4).repeat(3, 1), 4, 0.25),
        (torch.outer(torch.arange(1.0, 6), torch.ones(4)), 1, 1),
        (torch.zeros(5, 4), 0, 0),
    ],
    ids=["all directions", "one line", "nothing"],
)
def test_the_extremes(vectors: Tensor, rank: float, largest: float) -> None:
    values = spectrum_of(vectors)
    assert values["effective_rank"].item() == pytest.approx(rank, abs=1e-4)
    assert values["largest_share"].item() == pytest.approx(largest, abs=1e-4)


@pytest.fixture
def validate(tmp_path: Path) -> Callable[..., dict[str, float]]:
    """What a validation logs."""

    def run(module: pl.LightningModule, *batches: object) -> dict[str, float]:
        trainer = pl.Trainer(
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=tmp_path,
            callbacks=[Spectrum()],
        )
        trainer.validate(module, DataLoader(batches, batch_size=None), verbose=False)  # type: ignore[arg-type]
        return {name: value.item() for name, value in trainer.callback_metrics.items()}

    return run


def test_validation_logs_it_for_the_real_items_and_for_views_that_are_not_what_is_scored(validate: Callable) -> None:
    share = math.sqrt(2) / (1 + math.sqrt(2))
    rank = math.exp(-share * math.log(share) - (1 - share) * math.log(1 - share))
    assert validate(Module(), 0) == pytest.approx(
        {
            "val/spectrum/effective_rank": HAND_RANK,
            "val/spectrum/largest_share": 0.75,
            "val/spectrum/text/effective_rank": rank,
            "val/spectrum/text/largest_share": share,
        },
        rel=1e-5,
    )


def test_the_rankings_table_is_not_encoded_again(validate: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, rows = IdEncoder(9, 8), []
    model = SequentialRecommender(encoder, SingleView(make_backbone("sasrec")), make_targets("sasrec")).float()
    views = encoder.views
    monkeypatch.setattr(encoder, "views", lambda ids, names=None: (rows.append(len(ids)), views(ids, names))[1])
    batch = {"items": torch.tensor([[0, 1, 2]]), "answer": torch.tensor([3])}
    assert {"val/spectrum/effective_rank", "val/spectrum/largest_share"} == validate(model, batch).keys()
    assert rows.count(11) == 2, "once to learn its width, once to be held"


def test_the_sanity_check_is_left_out() -> None:
    module = Mock(spec=Module)
    Spectrum().on_validation_epoch_end(Mock(sanity_checking=True), module)
    assert not module.output_table.called
    assert not module.log.called
