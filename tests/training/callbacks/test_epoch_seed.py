from types import SimpleNamespace
from typing import Any

import pytest
import torch

from sage_pl.training.callbacks.epoch_seed import EpochSeed


def draw(seed: int, epoch: int) -> list[float]:
    trainer: Any = SimpleNamespace(current_epoch=epoch)
    torch.manual_seed(12345)
    torch.rand(epoch)
    EpochSeed(seed).on_train_epoch_start(trainer, None)  # type: ignore[arg-type]
    return torch.rand(3).tolist()


def test_an_epochs_randomness_is_its_own() -> None:
    trainer: Any = SimpleNamespace(current_epoch=4)
    callback, results = EpochSeed(1), []
    for before in range(2):
        torch.rand(10 * before)
        callback.on_train_epoch_start(trainer, None)  # type: ignore[arg-type]
        results.append(torch.rand(3).tolist())
    assert results[0] == results[1] == draw(1, 4)


@pytest.mark.parametrize(("seed", "epoch"), [(1, 5), (2, 4), (4, 1)], ids=["epoch", "seed", "both exchanged"])
def test_another_seed_or_epoch_is_other_randomness(seed: int, epoch: int) -> None:
    assert draw(seed, epoch) != draw(1, 4)
