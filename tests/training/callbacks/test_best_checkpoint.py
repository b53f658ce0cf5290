"""The best epoch survives a move to another folder."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import Mock

import pytest
import torch

from sage_pl.training.callbacks.best_checkpoint import BestCheckpoint


def state_of(folder: Path) -> dict:
    """What a run in ``folder`` would have stored after a best epoch of 0.5."""
    folder.mkdir()
    (folder / "best.ckpt").write_bytes(b"weights")
    checkpoint = BestCheckpoint(dirpath=folder, filename="best", monitor="x", mode="max")
    checkpoint.best_model_path = checkpoint.kth_best_model_path = str(folder / "best.ckpt")
    checkpoint.best_model_score = checkpoint.kth_value = torch.tensor(0.5)
    checkpoint.best_k_models = {checkpoint.best_model_path: torch.tensor(0.5)}
    return checkpoint.state_dict()


@pytest.mark.parametrize("same", [True, False], ids=["same folder", "new folder"])
def test_the_best_epoch_so_far_is_remembered(tmp_path: Path, same: bool) -> None:
    state = state_of(tmp_path / "old")
    folder = tmp_path / ("old" if same else "new")
    resumed = BestCheckpoint(dirpath=folder, filename="best", monitor="x", mode="max")
    resumed.load_state_dict(state)
    assert resumed.best_model_score == 0.5
    assert resumed.best_model_path == str(folder / "best.ckpt")
    assert list(resumed.best_k_models) == [resumed.best_model_path]
    assert Path(resumed.best_model_path).read_bytes() == b"weights"
    trainer = Mock(strategy=Mock(reduce_boolean_decision=lambda decision: decision))
    assert not resumed.check_monitor_top_k(trainer, torch.tensor(0.4))
    assert resumed.check_monitor_top_k(trainer, torch.tensor(0.6))


def test_a_best_file_that_is_gone_is_not_claimed(tmp_path: Path) -> None:
    state = state_of(tmp_path / "old")
    (tmp_path / "old" / "best.ckpt").unlink()
    resumed = BestCheckpoint(dirpath=tmp_path / "new", filename="best", monitor="x", mode="max")
    with pytest.raises(FileNotFoundError, match=r"best\.ckpt, is gone"):
        resumed.load_state_dict(state)


def test_the_best_file_is_found_beside_the_resumed_one(tmp_path: Path) -> None:
    state = state_of(tmp_path / "old")
    (tmp_path / "old").rename(tmp_path / "moved")
    resume = str(tmp_path / "moved" / "last.ckpt")
    resumed = BestCheckpoint(dirpath=tmp_path / "new", filename="best", monitor="x", mode="max", resume=resume)
    resumed.load_state_dict(state)
    assert Path(resumed.best_model_path).read_bytes() == b"weights"


def test_a_run_without_a_validation_so_far_goes_on(tmp_path: Path) -> None:
    state = BestCheckpoint(dirpath=tmp_path / "old", filename="best", monitor="x", mode="max").state_dict()
    resumed = BestCheckpoint(dirpath=tmp_path / "new", filename="best", monitor="x", mode="max")
    resumed.load_state_dict(state)
    assert resumed.best_model_path == ""
    trainer = Mock(strategy=Mock(reduce_boolean_decision=lambda decision: decision))
    assert resumed.check_monitor_top_k(trainer, torch.tensor(0.1))
