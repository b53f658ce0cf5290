from types import SimpleNamespace
from typing import Any

import pytest
import torch

from sage_pl.training.callbacks import speed
from sage_pl.training.callbacks.speed import Speed


def epoch(monkeypatch: pytest.MonkeyPatch, times: list[float], validated: bool) -> dict[str, float]:
    """One epoch of two batches of 3 and 5 users, with the given clock; each of two processes sees both batches whole."""
    clock = iter(times)
    monkeypatch.setattr(speed.time, "perf_counter", lambda: next(clock))
    logged: dict[str, float] = {}
    trainer: Any = SimpleNamespace(world_size=2)
    module: Any = SimpleNamespace(log_dict=lambda values, **_: logged.update(values))
    callback = Speed()
    callback.on_train_epoch_start(trainer, module)
    for index, users in enumerate((3, 5)):
        callback.on_train_batch_end(trainer, module, None, {"user": torch.ones(users)}, index)  # type: ignore[typeddict-item]
    if validated:
        callback.on_validation_start(trainer, module)
    callback.on_train_epoch_end(trainer, module)
    return logged


def test_training_ends_where_validation_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    logged = epoch(monkeypatch, [10, 14, 15], validated=True)
    assert logged == {"train/seconds": 4, "train/users_per_second": 2, "val/seconds": 1}


def test_an_epoch_without_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    assert epoch(monkeypatch, [10, 18], validated=False) == {"train/seconds": 8, "train/users_per_second": 1}
