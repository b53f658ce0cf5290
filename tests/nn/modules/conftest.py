"""Small models over one tiny data set."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from sage_pl.data.datamodule import SequenceDataModule
from sage_pl.data.neighbours import Neighbours
from sage_pl.nn.item_encoders.dual import DualEncoder
from sage_pl.nn.item_encoders.id import IdEncoder
from sage_pl.nn.losses.alignment import Alignment
from sage_pl.nn.losses.base import LossTerm
from sage_pl.nn.losses.distillation import UserDistillation
from sage_pl.nn.losses.prototype import Prototype
from sage_pl.nn.modules.sequential import SequentialRecommender
from sage_pl.nn.objectives.softmax import Softmax
from sage_pl.nn.sequence_encoders.dual import DualView
from sage_pl.nn.sequence_encoders.single import SingleView
from tests.golden.prepared import N_ITEMS, Artifacts, adam, make_backbone, make_targets, write
from tests.nn.decoders.tiny import random_codes, write_tokens
from tests.semantic.scft.tiny import write_llama

MakeModel = Callable[..., SequentialRecommender]
MAX_LEN = 6


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    return Artifacts.write(tmp_path)


@pytest.fixture
def tokens(tmp_path: Path) -> str:
    sizes = (3, 3, 3)
    return write_tokens(tmp_path / "tokens", random_codes(0, 30, sizes)[:N_ITEMS], sizes)


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny random language model."""
    return write_llama(tmp_path_factory.mktemp("llama"))


@pytest.fixture
def texts(tmp_path: Path) -> str:
    folder = Path(write(tmp_path / "texts"))
    rows = {"item": range(1, N_ITEMS + 1), "text": [f"name{i} brand sort{i % 5} size" for i in range(N_ITEMS)]}
    pl.DataFrame(rows).write_parquet(folder / "texts.parquet")
    return str(folder)


@pytest.fixture
def make_model(artifacts: Artifacts) -> MakeModel:
    """The plain recommender, or SAGE with its three terms; single precision, without dropout."""

    def make(backbone: str = "sasrec", sage: bool = True) -> SequentialRecommender:
        module, targets, objective = make_backbone(backbone), make_targets(backbone), Softmax(artifacts.sequences)
        if not sage:
            plain = IdEncoder(N_ITEMS, dim=8)
            return SequentialRecommender(plain, SingleView(module), targets, objective, {}, adam).float()
        terms: dict[str, LossTerm] = {
            "distillation": UserDistillation(0.3),
            "alignment": Alignment(0.2),
            "prototype": Prototype(0.5, artifacts.clusters),
        }
        encoder = DualEncoder(N_ITEMS, artifacts.text, artifacts.start, dim=8)
        return SequentialRecommender(encoder, DualView(module), targets, objective, terms, adam).float()

    return make


@pytest.fixture
def datamodule(artifacts: Artifacts, tmp_path: Path) -> SequenceDataModule:
    random = np.random.default_rng(0)
    drawn = {split: random.integers(1, N_ITEMS + 1, (5, 4)) for split in ("valid", "test")}
    return SequenceDataModule(
        artifacts.sequences,
        write(tmp_path / "candidates", **drawn),
        max_len=MAX_LEN,
        batch_size=2,
        eval_batch_size=2,
        extras={"neighbours": Neighbours(artifacts.neighbours, k=2)},
    )


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)
