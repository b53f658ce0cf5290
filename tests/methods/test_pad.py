"""Every ablation of PAD that docs/methods/pad.md names runs, and changes the phase it is about and no other."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

Run = Callable[..., Path]
NO_ALIGNED = [
    "item_encoder.experts.aligned=null",
    "sequence_encoder.experts.aligned=null",
    "start.aligned_items=null",
    "start.aligned_states=null",
]
MMD = "stages.align.loss.terms.alignment"
ANOTHER = [f"{MMD}=null", "+loss/term@stages.align.loss.terms.infonce=infonce"]


def artifacts(folder: Path) -> dict[str, str]:
    made = OmegaConf.load(folder / "config.yaml").artifacts
    return {name: made[name] for name in ("plain", "align") if not OmegaConf.is_missing(made, name)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "another_align", "experts"),
    [
        (["without=pad/mmd"], True, "aligned id text"),
        (ANOTHER, True, "aligned id text"),
        ([f"{MMD}.kernel._target_=sage_pl.nn.losses.mmd.Laplacian"], True, "aligned id text"),
        ([f"{MMD}.unbiased=false", f"{MMD}.offset=true", f"{MMD}.unique=false"], True, "aligned id text"),
        (["without=pad/anchor"], True, "aligned id text"),
        (["without=pad/id_expert"], False, "aligned text"),
        (["without=pad/aligned_expert"], False, "id text"),
        (["without=pad/text_expert"], False, "aligned id"),
        (["without=pad/text_expert", *NO_ALIGNED], False, "id"),
        (["without=pad/frequency"], False, "aligned id text"),
        (["without=pad/gate"], False, "aligned id text"),
        (["item_encoder/gate=continuous"], False, "aligned id text"),
        (["without=pad/pretraining"], True, "aligned id text"),
    ],
    ids=[
        "no mmd",
        "infonce",
        "laplacian",
        "reference estimator",
        "no anchor",
        "no id",
        "no aligned",
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
