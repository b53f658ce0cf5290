"""Schedules, averaged weights and cosines in whole runs: resumed, refitted, tested, exported and served."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars
import pytest
import pytorch_lightning as pl
import torch
from omegaconf import OmegaConf

from sage_pl import serving
from sage_pl.training.callbacks.ended_early import EndedEarly
from tests.e2e.commands import call_loaded
from tests.e2e.test_served_alike import Answers, command, equal

pytestmark = pytest.mark.slow

__all__ = ["command"]

Run = Callable[..., Path]


def content(folder: Path, name: str = "last") -> dict[str, Any]:
    return torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)


def rates(folder: Path) -> list[float]:
    return polars.read_csv(folder / "metrics.csv")["train/lr"].drop_nulls().to_list()


def interrupt(callback: EndedEarly, trainer: pl.Trainer, *_: Any) -> None:
    if trainer.current_epoch == 1:
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    "settings",
    [
        ["schedule=cosine", "schedule.warmup=3"],
        ["schedule=linear", "optimizer=row_adam", "item_encoder.sparse=true", "objective=sampled_softmax"],
        ["schedule=warmup", "schedule.warmup=0.5", "backbone=bert4rec"],
        ["callbacks=averaged", "callbacks.averaged.decay=0.9", "schedule=cosine"],
        ["sequence_encoder=melt", "loss=melt", "schedule=warmup"],  # which sets item vectors before an epoch
    ],
    ids=["cosine", "row_adam", "warmup", "averaged", "melt"],
)
def test_an_interrupted_run_goes_on_as_if_it_had_not_been(
    run_train: Run, settings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["method=plain", "trainer.max_epochs=3", *settings]
    whole = run_train(*command)
    with monkeypatch.context() as patch:
        patch.setattr(EndedEarly, "on_train_epoch_start", interrupt, raising=False)
        with pytest.raises(SystemExit):
            run_train(*command)
    half = whole.with_name("run2")
    assert content(half)["epoch"] == 0
    resumed = run_train(*command, f"resume={half}/checkpoints/last.ckpt")
    expected, got = content(whole), content(resumed)
    for key in ("state_dict", "current_model_state", "averaging_state"):
        torch.testing.assert_close(got.get(key), expected.get(key), rtol=0, atol=0)
    assert (whole / "metrics.json").read_text() == (resumed / "metrics.json").read_text()
    assert rates(whole) == rates(resumed)


def test_the_rate_of_every_epoch_is_in_the_table(run_train: Run) -> None:
    folder = run_train("method=plain", "schedule=cosine", "schedule.warmup=0", "trainer.max_epochs=4")
    assert rates(folder) == pytest.approx([0.001 * (1 + math.cos(math.pi * n / 4)) / 2 for n in (1, 2, 3, 4)], abs=1e-9)
    assert "train/lr" not in polars.read_csv(run_train("method=plain") / "metrics.csv").columns


def test_a_stage_has_the_schedule_of_its_run(run_train: Run) -> None:
    folder = run_train("method=pad", "schedule=linear", "trainer.max_epochs=2")
    stage = Path(OmegaConf.load(folder / "config.yaml").artifacts.plain)
    assert len(rates(stage)) == 2
    assert rates(stage)[-1] == pytest.approx(0)


def test_a_refit_follows_the_curve_of_its_run(run_train: Run, run_bare: Run) -> None:
    """Its last epoch is the run's best one, at which the run's rate had not come to its end."""
    command = ["method=plain", "schedule=linear", "schedule.warmup=0", "trainer.max_epochs=40", "optimizer.lr=0.05"]
    folder = run_train(*command, "callbacks.early_stopping.patience=1")
    best = content(folder, "best")["epoch"]
    refit = run_bare(f"refit={folder}", "report=null")
    assert len(rates(refit)) == best + 1
    assert rates(refit)[-1] == pytest.approx(0.05 * (1 - (best + 1) / 40), rel=1e-3)


@pytest.mark.parametrize("settings", [["schedule=cosine"], ["schedule=warmup", "schedule.warmup=0.1"]])
def test_a_curve_without_an_end_is_refused_before_anything_is_prepared(
    run_train: Run, settings: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run_train("method=plain", "trainer.max_epochs=-1", *settings)
    assert "trainer.max_epochs is -1; set trainer.max_epochs=N" in "".join(capsys.readouterr())


def test_averaged_weights_are_tested_stored_and_exported(run_train: Run, tmp_path: Path) -> None:
    run = run_train("method=sage", "callbacks=averaged", "callbacks.averaged.decay=0.9", "trainer.max_epochs=3")
    best = content(run, "best")
    table, last = (best[key]["item_encoder.table.weight"] for key in ("state_dict", "current_model_state"))
    assert not torch.equal(table, last)
    checkpoint, folder = f"checkpoint={run}/checkpoints/best.ckpt", tmp_path / "served"
    for script, place in (("evaluate", f"hydra.run.dir={tmp_path}/again"), ("export", f"folder={folder}")):
        done = call_loaded(f"scripts/{script}.py", checkpoint, place)
        assert done.returncode == 0, done.stdout
    np.testing.assert_array_equal(np.load(folder / "items" / "id.npy"), table)
    tested, again = (polars.read_parquet(place / "ranks.parquet") for place in (run, tmp_path / "again"))
    assert tested["full"].equals(again["full"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        ["method=sage", "model=cosine"],
        ["method=plain", "model=cosine", "backbone=bert4rec", "objective=sampled_softmax", "scorer=fusion"],
        ["method=id_and_text", "backbone.norm=post"],
        ["method=pad", "model=cosine"],
    ],
    ids=["sage", "fusion", "id_and_text", "pad"],
)
def test_what_is_exported_scores_as_what_was_trained(
    run_train: Run, command: Callable[..., Answers], settings: list[str], tmp_path: Path
) -> None:
    checkpoint = f"checkpoint={run_train(*settings, 'trainer.max_epochs=1')}/checkpoints/best.ckpt"
    command("export", checkpoint, f"folder={tmp_path}/served")
    model = serving.load(tmp_path / "served")
    for history in (["3", "9", "4"], ["12"]):
        ((_, _, ids, scores, _),) = command("recommend", checkpoint, f"history=[{','.join(history)}]", "k=6")
        equal(model.recommend(history, 6), ids, scores)
