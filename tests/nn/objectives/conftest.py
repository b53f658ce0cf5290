"""Five items of which 1, 2, 3 occur in training, and a two-user case to compute by hand."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sage_pl.types import SeqBatch
from tests.golden.prepared import HandStep, leaf, normal, write_sequences

MakeStep = Callable[..., HandStep]


@pytest.fixture
def sequences(tmp_path: Path) -> str:
    return write_sequences(tmp_path / "sequences", [[1, 2, 3, 4, 5], [2, 1, 4, 5], [3, 1, 5, 4]], n_items=5)


@pytest.fixture
def make_step() -> MakeStep:
    """Two users with the targets 2 3 and 1, the latter's first position padding; ``padding`` adds more in front."""

    def make(padding: int = 0, dtype: torch.dtype = torch.float64, scale: float = 1.0) -> HandStep:
        front = torch.zeros(2, padding, dtype=torch.long)
        batch: SeqBatch = {
            "items": torch.cat([front, torch.tensor([[1, 2], [0, 3]])], 1),
            "targets": torch.cat([front, torch.tensor([[2, 3], [0, 1]])], 1),
        }
        hidden = torch.cat([torch.full((2, padding, 4), 7.0), normal(2, 2, 4, seed=1)], 1)
        return HandStep(batch, leaf(scale * hidden.to(dtype)), leaf(scale * normal(7, 4, seed=2).to(dtype)))

    return make
