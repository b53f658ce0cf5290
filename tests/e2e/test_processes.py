"""A run of two processes is the run of one: files, metrics, stages, resuming, errors, Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.e2e.commands import call_loaded, command

TOGETHER = ("trainer.devices=2", "trainer.strategy=ddp", "trainer.accelerator=cpu")
NO_DROPOUT = ("sequence_encoder.dropout=0", "decoder.network.dropout=0")  # of TIGER, which has its own
FILES = ("config.yaml", "metrics.csv", "metrics.json", "ranks.parquet", "recommended.npy", "footprint.json")


def trained(settings: list[str], folder: Path, *overrides: str) -> Path:
    done = call_loaded("train.py", *settings, "dropout=0", *overrides, f"hydra.run.dir='{folder}'")
    assert done.returncode == 0, done.stdout
    return folder


def results(folder: Path) -> tuple[Any, pl.DataFrame, list[Any]]:
    lists = np.load(folder / "recommended.npy").tolist()
    return json.loads((folder / "metrics.json").read_text()), pl.read_parquet(folder / "ranks.parquet"), lists


@pytest.mark.slow
@pytest.mark.parametrize(
    "method", [["sage"], ["llmemb"], ["tiger", *NO_DROPOUT, "steps.tokens.quantiser.codes=6"]], ids=lambda m: m[0]
)
def test_two_processes_train_what_one_trains(method: list[str], small_settings: list[str], tmp_path: Path) -> None:
    """A stage (llmemb) and item codes (tiger) are made by the two, whose cache is a new one."""
    mine = [*small_settings, f"paths.artifacts={tmp_path / 'cache'}", f"method={method[0]}", *method[1:]]
    two = trained(mine, tmp_path / "two", *TOGETHER)
    assert all((two / name).is_file() for name in FILES)
    log = (two / "train.log").read_text()
    assert log.count("epoch   1 ") == (2 if method == ["llmemb"] else 1), "of the run and of its stage, once each"
    one = trained(mine, tmp_path / "one")
    assert "running" not in (one / "train.log").read_text(), "their artifacts are those of one process"
    losses = [pl.read_csv(folder / "metrics.csv")["train/loss"].drop_nulls().to_list() for folder in (one, two)]
    np.testing.assert_allclose(*losses, rtol=1e-4)


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_processes(small_settings: list[str], tmp_path: Path) -> None:
    """And the same weights have the same ranks, lists and metrics in both, to the last digit."""
    plain = [*small_settings, "method=plain"]
    two = trained(plain, tmp_path / "two", *TOGETHER, "trainer.max_epochs=1")
    resume = f"resume={two / 'checkpoints' / 'last.ckpt'}"
    done = call_loaded(
        "train.py", resume, "trainer.devices=1", "trainer.strategy=auto", f"hydra.run.dir='{tmp_path / 'one'}'"
    )
    assert done.returncode == 0, done.stdout
    tested, again = results(two), results(tmp_path / "one")
    assert tested[0] == again[0]
    assert tested[1].equals(again[1])
    assert tested[2] == again[2]
    on = call_loaded("train.py", resume, "trainer.max_epochs=2", *TOGETHER, f"hydra.run.dir='{tmp_path / 'on'}'")
    assert on.returncode == 0, on.stdout
    whole = trained(plain, tmp_path / "whole", "trainer.max_epochs=2")
    losses = [pl.read_csv(f / "metrics.csv")["train/loss"].drop_nulls().to_list() for f in (tmp_path / "on", whole)]
    np.testing.assert_allclose(*losses, rtol=1e-4)


@pytest.mark.slow
def test_a_table_in_shards_is_that_of_one_process(small_settings: list[str], tmp_path: Path) -> None:
    """Trained by two and by one; either goes on with the other number; the file of two is evaluated by one."""
    sharded = [
        *small_settings,
        "method=plain",
        "item_encoder=sharded",
        "objective=sampled_softmax",
        "optimizer=row_adam",
    ]
    two = trained(sharded, tmp_path / "two", *TOGETHER, "trainer.max_epochs=1")
    one = trained(sharded, tmp_path / "one", "trainer.max_epochs=1")
    goes_on = {"two": ("trainer.devices=1", "trainer.strategy=auto"), "one": TOGETHER}
    for name, number in goes_on.items():
        last = tmp_path / name / "checkpoints" / "last.ckpt"
        folder = tmp_path / f"{name} on"
        done = call_loaded("train.py", f"resume={last}", "trainer.max_epochs=3", *number, f"hydra.run.dir='{folder}'")
        assert done.returncode == 0, done.stdout
    for pair in ((one, two), (tmp_path / "one on", tmp_path / "two on")):
        losses = [pl.read_csv(folder / "metrics.csv")["train/loss"].drop_nulls().to_list() for folder in pair]
        np.testing.assert_allclose(*losses, rtol=1e-4)
        assert results(pair[0])[1].equals(results(pair[1])[1])
        assert results(pair[0])[2] == results(pair[1])[2]
    best = two / "checkpoints" / "best.ckpt"
    done = call_loaded("scripts/evaluate.py", f"checkpoint={best}", f"hydra.run.dir='{tmp_path / 'alone'}'")
    assert done.returncode == 0, done.stdout
    assert results(tmp_path / "alone")[1].equals(results(two)[1])
    assert not list(tmp_path.glob("**/.shards-*"))


@pytest.mark.slow
def test_an_error_of_one_process_ends_both_in_words(small_settings: list[str], tmp_path: Path) -> None:
    """The second process alone misses its seed of torch's threads here: a callback that fails there."""
    (tmp_path / "own.py").write_text(
        "import pytorch_lightning as pl\n"
        "from sage_pl import processes\n"
        "from sage_pl.errors import SettingError\n"
        "class Fails(pl.Callback):\n"
        "    def __init__(self, folder):\n"
        "        self.folder = folder\n"
        "    def on_train_batch_start(self, *_):\n"
        "        if processes.rank() == 1:\n"
        "            raise SettingError('rank 1 has no luck; set another seed')\n"
    )
    done = subprocess.run(
        command(
            "train.py",
            *small_settings,
            "method=plain",
            *TOGETHER,
            "+callbacks.fails={_target_: own.Fails, folder: '${run_dir}'}",  # which the other process resolves too
            f"hydra.run.dir='{tmp_path / 'run'}'",
        ),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "SAGE_PL_PACKAGES": "own", "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"},
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert (done.stdout + done.stderr).count("rank 1 has no luck") == 1
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.slow
def test_ctrl_c_ends_both(small_settings: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    arguments = [
        *small_settings,
        "method=plain",
        "trainer.max_epochs=100000",
        "callbacks.early_stopping.patience=100000",
    ]
    process = subprocess.Popen(
        command("train.py", *arguments, *TOGETHER, f"hydra.run.dir='{folder}'"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    last = folder / "checkpoints" / "last.ckpt"
    deadline = time.monotonic() + 120
    while not last.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    output, _ = process.communicate(timeout=100)
    assert process.returncode == 130, output
    assert output.count(f"resume={last}") == 1
    assert ended(process.pid), "a process of its session is left"


def ended(group: int) -> bool:
    """Whether no process of a group is left; multiprocessing's tracker of resources takes a moment."""
    for _ in range(50):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.2)
    return False
