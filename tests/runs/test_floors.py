"""The floors of a run are those of the runs without training, and are made once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import torch

from tests.e2e.test_methods import FLOORS
from tests.e2e.test_served_alike import Answers, command  # noqa: F401 - a fixture

Run = Callable[..., Path]
SHORT = ["embedder=tfidf", "trainer.max_epochs=1"]


def metrics(folder: Path) -> dict[str, float]:
    return json.loads((folder / "metrics.json").read_text())


def floors(folder: Path) -> set[str]:
    return {name.split("/")[1] for name in metrics(folder) if name.startswith("floor/")}


@pytest.mark.parametrize("seen", [pytest.param("mask", marks=pytest.mark.slow), "keep"])
def test_a_floor_is_the_run_of_its_method(seen: str, run_train: Run) -> None:
    options = ["embedder=tfidf", f"evaluation.seen={seen}", "data.max_len=50"]
    run = run_train("method=residual_text", *options, "trainer.max_epochs=1")
    methods = sorted(FLOORS) if seen == "keep" else sorted({*FLOORS} - {"repeat"})
    assert floors(run) == {"popularity", *methods}
    values, ranks = metrics(run), pl.read_parquet(run / "ranks.parquet")
    for method in methods:
        folder = run_train(f"method={method}", *options)
        own = {name: value for name, value in metrics(folder).items() if name.startswith(("test/full", "test/sampled"))}
        assert {name: values[name.replace("test/", f"floor/{method}/", 1)] for name in own} == pytest.approx(
            own, abs=2e-6
        )
        written = pl.read_parquet(folder / "ranks.parquet")
        for protocol in ("full", "sampled10"):
            assert ranks[f"{method}/{protocol}"].to_list() == written[protocol].to_list()


def test_floors_are_made_once_and_only_with_what_a_run_prepares(
    run_train: Run,
) -> None:
    first, second = run_train("method=plain", *SHORT), run_train("method=plain", *SHORT, "seed=2")
    assert floors(first) == floors(second) == {"popularity", "transitions", "repeat"}, "no language model for a floor"
    assert "floor      " in (second / "train.log").read_text()
    assert "running" not in (second / "train.log").read_text()
    assert floors(run_train("method=plain", *SHORT, "floors=false")) == {"popularity"}


def test_floors_are_no_part_of_a_checkpoint(run_train: Run) -> None:
    folder = run_train("method=plain", *SHORT)
    checkpoint = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)
    assert set(checkpoint["sage_pl"]["artifact_keys"]) == {"sequences", "candidates"}


def test_a_limited_test_has_floors_of_its_cases(run_train: Run) -> None:
    values = metrics(run_train("method=plain", *SHORT, "data.eval_batch_size=16", "+trainer.limit_test_batches=2"))
    counts = {name: value for name, value in values.items() if name.endswith("/full/count")}
    assert set(counts.values()) == {32}
    assert len(counts) == 4


def test_an_evaluation_has_the_floors_of_its_run(
    run_train: Run,
    command: Callable[..., Answers],  # noqa: F811
    tmp_path: Path,
) -> None:
    """Also where no part that serves reads the text."""
    folder = run_train("method=sage", *SHORT)
    command("evaluate", f"checkpoint={folder / 'checkpoints' / 'best.ckpt'}")
    assert floors(tmp_path / "log") == floors(folder) >= {"text_knn", "neighbours"}
