"""LLMEmb from the tuning of the encoder to the metrics, on the small world with a tiny encoder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from omegaconf import OmegaConf

from tests.conftest import KINDS, _runner
from tests.semantic.scft.tiny import write_bert

Run = Callable[..., Path]


@pytest.fixture
def run(small_settings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """``train.py method=llmemb`` with an encoder of two layers instead of the small world's word counts."""
    words = sorted(
        {word for text in KINDS.values() for word in text.split()} | {*KINDS, "number", *map(str, range(40))}
    )
    settings = [entry for entry in small_settings if "embed" not in entry and "paths.outputs" not in entry]
    quick = ["max_steps=2", "batch_size=8"]
    return _runner(
        "train",
        [
            *settings,
            "method=llmemb",
            f"paths.outputs={tmp_path / 'outputs'}",
            f"steps.scft.model={write_bert(tmp_path / 'tiny-bert', words)}",
            *(f"steps.scft.training.{entry}" for entry in quick),
            "trainer.max_epochs=1",
        ],
        tmp_path,
        monkeypatch,
    )


def artifacts(folder: Path) -> dict[str, str]:
    config = OmegaConf.load(folder / "config.yaml")
    return {name: path for name, path in OmegaConf.to_container(config.artifacts).items() if path != "???"}


def test_the_whole_method_runs_and_a_sweep_shares_its_stages(run: Run) -> None:
    folder = run()
    assert np.isfinite(json.loads((folder / "metrics.json").read_text())["test/full/ndcg@10"])
    metrics = pl.read_csv(folder / "metrics.csv")
    assert metrics["train/loss/teacher_alignment"].drop_nulls().is_between(0, 10).all()
    made = artifacts(folder)
    teacher = np.load(Path(made["plain"]) / "item_table.npy")
    text = np.load(Path(made["intermediate"]) / "table.npy")
    assert teacher.shape == (len(text), 8)
    assert text.shape[1] == 16
    weights = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    assert not any(name.endswith((".text", ".table")) for name in weights)  # frozen text and teacher are not stored

    assert artifacts(run("loss.alpha=0.1")) == made


@pytest.mark.parametrize(
    ("overrides", "left_out"),
    [
        (["embedder=tfidf", "steps.embed.dim=12"], "scft"),
        (
            ["item_encoder.adapter={_target_:torch.nn.Identity,_partial_:true}", "steps.intermediate.dim=${dim}"],
            "plain",
        ),
    ],
    ids=["neither tuning nor teacher", "neither adapter nor teacher"],
)
def test_ablations_run(run: Run, overrides: list[str], left_out: str) -> None:
    folder = run("loss.alpha=0", *overrides)
    assert np.isfinite(json.loads((folder / "metrics.json").read_text())["test/full/ndcg@10"])
    assert not {left_out, "plain"} & artifacts(folder).keys()
