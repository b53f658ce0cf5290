"""Runs kept by Weights & Biases, offline, read with its own reader; and what a missing login is answered with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sage_pl.evaluation.floors import best_floor, label
from tests.training.loggers.wandb_records import read

pytest.importorskip("wandb")
ROOT = Path(__file__).parent.parent.parent
Run = Callable[..., Path]


@pytest.mark.slow
def test_a_resumed_run_is_one_record_with_names_steps_and_media(run_train: Run) -> None:
    sage = ["method=sage", "logger=wandb"]
    first = run_train(*sage, "trainer.max_epochs=1")
    again = run_train(*sage, "trainer.max_epochs=2", "report=quick", f"resume={first}/checkpoints/last.ckpt")
    (one,), (record,) = read(first), read(again)

    assert one.run["run_id"] == record.run["run_id"]
    assert record.run["display_name"] == "folder-sage-sasrec-seed42"
    assert record.run["tags"] == ["folder", "sage", "sasrec", "seed42"]
    assert (record.config["seed"], record.config["loss"]["gamma"]) == (42, 0.05)
    keys = record.config["artifact_keys"]
    assert {"sequences", "embed", "cluster", "retrieve"} <= keys.keys()
    for name, key in keys.items():
        artifact = record.artifacts[f"{name}-{key}"]
        assert all(f"/{key}/" in file["ref"] for file in artifact["manifest"]["contents"])

    logged = {name: item for item in record.history for name in item}
    terms = ("recommendation", "distillation", "alignment", "prototype")
    assert {f"train/loss/{term}" for term in terms} <= logged.keys()
    assert {"train/grad_norm", "train/grad_norm/item_encoder", "train/users_per_second", "val/seconds"} <= logged.keys()
    assert {"val/full/ndcg@10", "test/full/ndcg@10/item_tail", "val/spectrum/effective_rank"} <= logged.keys()
    steps = [item["trainer/global_step"] for run in (one, record) for item in run.history if "train/loss" in item]
    assert len(steps) == 2
    assert steps[0] < steps[1]
    assert {
        "groups/full._type",
        "groups/sampled10._type",
        "figures/full/ndcg@10_table._type",
        "report._type",
    } <= logged.keys()
    (table,) = again.glob("wandb/offline-run-*/files/media/table/groups/full_*.json")
    rows = json.loads(table.read_text())
    at = rows["columns"].index("ndcg@10")
    metrics = json.loads((again / "metrics.json").read_text())
    best = best_floor(metrics, "full")
    tail = {row[0]: row[at] for row in rows["data"] if row[1] == "item_tail"}
    assert tail["this run"] == pytest.approx(metrics["test/full/ndcg@10/item_tail"], abs=1e-6)
    assert tail[label(best)] == pytest.approx(metrics[f"floor/{best}/full/ndcg@10/item_tail"], abs=1e-6)
    assert (again / "metrics.csv").is_file()


def test_a_run_and_its_stage_are_two_records(run_train: Run) -> None:
    folder = run_train("method=llmemb", "embedder=tfidf", "logger=wandb", "seed=5", "trainer.max_epochs=1")
    (record,) = read(folder)
    assert record.run["job_type"] == "run"
    assert any("train/loss/teacher_alignment" in item for item in record.history)


@pytest.mark.slow
def test_a_missing_login_ends_a_run_before_anything_is_prepared(small_settings: list[str], tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
    environment |= {"WANDB_MODE": "online", "HOME": str(tmp_path), "WANDB_CONFIG_DIR": str(tmp_path)}
    command = [sys.executable, str(ROOT / "train.py"), *small_settings, "logger=wandb"]
    places = [f"paths.artifacts={tmp_path}/cache", f"hydra.run.dir='{tmp_path}/run'"]
    done = subprocess.run(
        [*command, *places], capture_output=True, text=True, timeout=120, check=False, env=environment
    )
    assert done.returncode == 1
    assert "run `wandb login`, set WANDB_API_KEY, or set WANDB_MODE=offline" in done.stdout.splitlines()[-1]
    assert not done.stderr
    assert not (tmp_path / "cache").exists()
