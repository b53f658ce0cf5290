"""refit=RUN_FOLDER: a finished run trained again on all events, for serving."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from omegaconf import OmegaConf

from sage_pl.artifacts.store import Artifact
from sage_pl.comparison.runs import RunError, read
from sage_pl.runs.checkpoint import open_checkpoint, prepared, trained

Run = Callable[..., Path]
METHODS = {
    "plain": [],
    "sage": [],
    "pad": [],
    "llmemb": [],
    "sam": [],
    "semantic_convergence": ["steps.tokens.quantiser.codes=6"],
}


@pytest.fixture
def run_refit(run_bare: Run, small_settings: list[str]) -> Run:
    """``train.py refit=...`` without the settings of the run, which it takes from there."""
    paths = next(setting for setting in small_settings if setting.startswith("paths.outputs="))
    return lambda place, *overrides: run_bare(f"refit={place}", paths, *overrides)


def artifact(run: Path, name: str) -> Artifact:
    return Artifact.at(OmegaConf.load(run / "config.yaml")["artifacts"][name])


@pytest.mark.parametrize("method", METHODS)
def test_a_refit_trains_on_all_events_and_repeats_the_rest(run_train: Run, run_refit: Run, method: str) -> None:
    run = run_train(f"method={method}", *METHODS[method], "trainer.max_epochs=3")
    refit = run_refit(run)

    best, again = (open_checkpoint(folder / "checkpoints" / name) for folder, name in ((run, "best.ckpt"), (refit, "refit.ckpt")))
    assert again.epochs == best.epochs
    assert again.weights.keys() == best.weights.keys()
    assert json.loads((refit / "metrics.json").read_text()) == json.loads((run / "metrics.json").read_text())
    assert f"its metrics are those of {run}" in (refit / "train.log").read_text()
    before, now = (artifact(folder, "sequences") for folder in (run, refit))
    assert now.array("train_end").sum() == len(now.array("values")) > before.array("train_end").sum()
    for name in ("items", "users"):
        assert now.frame(name).equals(before.frame(name)), "a split renumbers nothing"
    for name, key in again.artifact_keys.items():
        assert name != "candidates"
        if name in ("plain", "align", "teacher"):
            stages = [open_checkpoint(artifact(folder, name).path / "best.ckpt") for folder in (run, refit)]
            assert stages[0].epochs == stages[1].epochs, name
            assert key != best.artifact_keys[name]
    config = prepared(again, {})
    assert torch.equal(
        trained(config, again).model.recommend(torch.tensor([[3, 7]]), 4).ids,
        trained(config, again).model.recommend(torch.tensor([[3, 7]]), 4).ids,
    )
