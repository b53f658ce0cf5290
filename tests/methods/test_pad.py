"""Every ablation of PAD that docs/methods.md names runs, and changes the phase it is about and no other."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

Run = Callable[..., Path]
NO_ID = ["~item_encoder.experts.id", "~sequence_encoder.experts.id", "~start.id_items", "~start.id_states"]
NO_ALIGNED = [
    "~item_encoder.experts.aligned",
    "~sequence_encoder.experts.aligned",
    "~start.aligned_items",
    "~start.aligned_states",
]
NO_TEXT = ["~item_encoder.experts.text", "~sequence_encoder.experts.text"]
NO_PHASE_1 = ["~start.id_items", "~start.id_states", "~stages.align.start.items", "~stages.align.start.states"]
MMD = "stages.align.loss.terms.mmd"
ANOTHER = [f"~{MMD}", "+loss/term@stages.align.loss.terms.infonce=infonce"]
NO_ANCHOR = ["+objective@stages.align.objective=softmax", "+stages.align.objective.weight=0"]


def artifacts(folder: Path) -> dict[str, str]:
    made = OmegaConf.load(folder / "config.yaml").artifacts
    return {name: made[name] for name in ("plain", "align") if not OmegaConf.is_missing(made, name)}


@pytest.mark.parametrize(
    ("overrides", "another_align", "experts"),
    [
        (["loss.gamma=0"], True, "aligned id text"),
        (ANOTHER, True, "aligned id text"),
        ([f"{MMD}.kernel._target_=sage_pl.losses.mmd.Laplacian"], True, "aligned id text"),
        ([f"{MMD}.unbiased=false", f"{MMD}.offset=true", f"{MMD}.unique=false"], True, "aligned id text"),
        (NO_ANCHOR, True, "aligned id text"),
        (NO_ID, False, "aligned text"),
        (NO_TEXT, False, "aligned id"),
        ([*NO_TEXT, *NO_ALIGNED], False, "id"),
        (["gate@item_encoder.gate=shared"], False, "aligned id text"),
        (["gate@item_encoder.gate=uniform"], False, "aligned id text"),
        (["gate@item_encoder.gate=continuous"], False, "aligned id text"),
        (NO_PHASE_1, True, "aligned id text"),
    ],
    ids=[
        "no mmd",
        "infonce",
        "laplacian",
        "reference estimator",
        "no anchor",
        "no id",
        "no text",
        "id alone",
        "shared",
        "uniform",
        "continuous",
        "no phase 1",
    ],
)
def test_an_ablation(run_train: Run, overrides: list[str], another_align: bool, experts: str) -> None:
    command = ["method=pad", "trainer.max_epochs=1"]
    whole, folder = artifacts(run_train(*command)), run_train(*command, *overrides)
    assert np.isfinite(json.loads((folder / "metrics.json").read_text())["test/full/ndcg@10"])
    made = artifacts(folder)
    if "plain" in made:
        assert made["plain"] == whole["plain"]
    if "aligned" in experts:
        assert (made["align"] != whole["align"]) == another_align
    names = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    there = {name.split(".")[2] for name in names if name.startswith("sequence_encoder.experts.")}
    assert there == set(experts.split())
