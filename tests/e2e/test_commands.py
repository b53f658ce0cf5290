"""The commands as processes: exit codes, sweeps, Ctrl-C and what a mistake is answered with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.e2e.commands import call, call_loaded, command


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["loss.gama=1"], "there is no key loss.gama; did you mean loss.gamma"),
        (["backbon=sasrec"], "there is no key backbon; did you mean backbone"),
        (["dataset=beuty"], "there is no dataset=beuty; did you mean dataset=beauty?"),
        (["dataset=fashion", "paths.data=nowhere"], "dataset=clothing"),
        (["dataset=beauty", "paths.data=nowhere"], "paths.data="),
        (["model._target_=os.system"], "os.system"),
        (["+data.extras.x._target_=subprocess.Popen"], "subprocess.Popen"),
        (["trainer.no_such_argument=1"], "no_such_argument"),
        (["resume=missing.ckpt"], "missing.ckpt"),
        (["evaluation.sampled=1000"], "1000"),
        (["loss.user_sim_func=x"], "loss.user_sim_func is 'x'"),
        (["trainer.check_val_every_n_epoch=9"], "wanted at most trainer.max_epochs, which is 2"),
        (["dataset=folder"], "dataset.path=..."),
        (["item_encoder=id", "sequence_encoder=single"], "reads the view text"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_a_mistake_is_answered_in_words(
    small_settings: list[str], tmp_path: Path, arguments: list[str], answer: str
) -> None:
    base = [
        s for s in small_settings if not (s.startswith("dataset") and any(a.startswith("dataset=") for a in arguments))
    ]
    done = call_loaded("train.py", *base, *arguments, f"hydra.run.dir='{tmp_path}/run'")
    assert done.returncode != 0
    assert answer in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not (tmp_path / "run" / "metrics.json").exists()


def test_ctrl_c_keeps_what_was_learned(small_settings: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    arguments = [*small_settings, "trainer.max_epochs=100000", "callbacks.early_stopping.patience=100000"]
    process = subprocess.Popen(
        command("train.py", *arguments, f"hydra.run.dir='{folder}'"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    last = folder / "checkpoints" / "last.ckpt"
    deadline = time.monotonic() + 120
    while not last.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert f"resume={last}" in output
    assert last.stat().st_size > 0
    assert not (folder / "metrics.json").exists()


@pytest.mark.slow
def test_prepare_alone_then_nothing_is_left_to_do(small_settings: list[str], tmp_path: Path) -> None:
    settings = [*small_settings, f"paths.artifacts={tmp_path / 'cache'}"]
    first, second = (call("scripts/prepare.py", *settings, f"hydra.run.dir='{tmp_path}/p{i}'") for i in (1, 2))
    assert first.returncode == second.returncode == 0, first.stdout + first.stderr
    assert "running" in first.stdout
    assert "running" not in second.stdout
    manifest = json.loads(next((tmp_path / "cache" / "cluster").glob("*/manifest.json")).read_text())
    assert {"key", "parents", "files", "libraries", "seconds"} <= manifest.keys()


def test_the_reference_reads_what_is_exported_and_we_read_it_back(small_settings: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "handled"
    done = call_loaded(
        "scripts/export_handled.py", *small_settings, f"folder={folder}", f"hydra.run.dir='{tmp_path}/log'"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    names = {"inter.txt", "itm_emb_np.pkl", "usr_emb_np.pkl", "pca64_itm_emb_np.pkl", "sim_user_100.pkl"}
    clusters = {f"hdbscan_{n}.pkl" for n in ("best_labels", "core_probs", "cluster_centers", "fuzzy_U")}
    assert names | clusters <= {path.name for path in folder.iterdir()}
    others = [s for s in small_settings if not s.startswith(("dataset", "embedder", "steps.embed"))]
    back = ["dataset=handled", f"dataset.path={folder}", "method=plain", "trainer.max_epochs=1"]
    again = call_loaded("train.py", *others, *back, f"hydra.run.dir='{tmp_path}/run'")
    assert again.returncode == 0, again.stdout + again.stderr


def test_help_is_quick_and_lists_the_groups() -> None:
    start = time.perf_counter()
    done = call("train.py", "--help")
    assert done.returncode == 0
    assert all(
        word in done.stdout for word in ("backbone: bert4rec", "dataset:", "method: comirec", "sage", "python train.py")
    )
    assert "torch" not in done.stderr
    assert time.perf_counter() - start < 30  # a hang, not a benchmark


@pytest.mark.parametrize(
    ("script", "answer"),
    [
        ("evaluate", "please set checkpoint=..."),
        ("recommend", "please set checkpoint=..."),
        ("export", "please set checkpoint=..., folder=..."),
        ("export_handled", "please set folder=..."),
    ],
)
def test_what_a_command_cannot_do_without(script: str, answer: str, tmp_path: Path) -> None:
    done = call_loaded(f"scripts/{script}.py", f"hydra.run.dir='{tmp_path}'")
    assert done.returncode == 1
    assert answer in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
