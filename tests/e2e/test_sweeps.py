"""Sweeps as commands: a grid that ends in a comparison although a job failed, and a search."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from sage_pl.evaluation.floors import is_floor

ROOT = Path(__file__).parent.parent.parent


def train(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "train.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)


def systems(record: dict[str, Any]) -> set[str]:
    """The compared systems, beside the floor that every table has."""
    names = {value["system"] for value in record["values"]}
    floors = {name for name in names if is_floor(name)}
    assert floors
    return names - floors


@pytest.mark.slow
def test_a_sweep_goes_on_after_a_failed_job_and_compares_the_others(small_settings: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    sweep = [f"hydra.sweep.dir='{folder}'", "method=plain,sage", "objective.candidates=nonsense,trained", "seed=1"]
    done = train("-m", *small_settings, *sweep)
    jobs = sorted(folder.glob("[0-9]_*"))
    assert [job.name[0] for job in jobs if (job / "metrics.json").exists()] == ["1", "3"]
    assert done.returncode != 0
    assert "objective.candidates=nonsense" in done.stdout + done.stderr
    assert yaml.safe_load((jobs[1] / "config.yaml").read_text())["sweep"] == "sweep"

    record = json.loads((folder / "comparison" / "comparison.json").read_text())
    assert systems(record) == {"plain/trained", "sage/trained"}
    assert {value["baseline"] for value in record["values"]} - {None} == {"plain/trained"}
    unfinished = {entry["folder"]: entry["reason"] for entry in record["unfinished"]}
    assert list(unfinished) == [str(jobs[0])]  # job 2 would repeat its failure and does not begin
    assert "2 of 4 jobs have no results" in done.stdout + done.stderr
    assert all("objective.candidates is 'nonsense'" in reason for reason in unfinished.values())


@pytest.mark.slow
def test_equal_jobs_are_trained_once_and_a_sweep_ends_with_its_table(small_settings: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    sweep = [f"hydra.sweep.dir='{folder}'", "method=plain", "loss.gamma=0.01,0.05,0.1", "trainer.max_epochs=1"]
    done = train("-m", *small_settings, *sweep)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    jobs = sorted(folder.glob("[0-9]_*"))
    assert [(job / "checkpoints").is_dir() for job in jobs] == [True, False, False]
    assert len({(job / "ranks.parquet").read_bytes() for job in jobs}) == 1
    assert f"this job equals {jobs[0].name}, which is trained already" in (jobs[2] / "train.log").read_text()
    record = json.loads((folder / "comparison" / "comparison.json").read_text())
    assert systems(record) == {"0.01", "0.05", "0.1"}
    assert {value["converged"] for value in record["values"]} == {None, False}
    assert "job 3 of 3, about" in output
    assert "0.05 ‡" in output[output.index("full, in %", output.index("job 3 of 3")) :]


@pytest.fixture
def repeated(small_settings: list[str], tmp_path: Path) -> Callable[..., list[str]]:
    """A pass of one sweep; what it adds to the log of each job."""
    folder = tmp_path / "sweep"
    sweep = [f"hydra.sweep.dir='{folder}'", "method=plain", "report=null"]

    def run(*overrides: str, code: int = 0) -> list[str]:
        before = {file: file.stat().st_size for file in folder.glob("[0-9]_*/train.log")}
        done = train("-m", *small_settings, *sweep, *overrides)
        assert done.returncode == code, done.stdout + done.stderr
        return [file.read_text()[before.get(file, 0) :] for file in sorted(folder.glob("[0-9]_*/train.log"))]

    return run


@pytest.mark.slow
def test_the_same_command_goes_on_with_an_interrupted_sweep(repeated: Callable[..., list[str]], tmp_path: Path) -> None:
    repeated("seed=1,2,3", "trainer.max_epochs=1")
    other, cut_off, damaged = jobs = sorted((tmp_path / "sweep").glob("[0-9]_*"))
    for job in (cut_off, damaged):  # as those of the longer run that end after their first epoch
        config = job / "config.yaml"
        config.write_text(config.read_text().replace("max_epochs: 1\n", "max_epochs: 2\n"))
        (job / "metrics.json").unlink()
    last = damaged / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:1000])
    logs = dict(zip(jobs, repeated("seed=1,2,3", "trainer.max_epochs=2"), strict=True))
    assert "epoch   0" in logs[other], "a job of other settings is trained from its beginning"
    assert "this job was cut off after 1 epochs; it goes on from" in logs[cut_off]
    assert "epoch   1" in logs[cut_off]
    assert "epoch   0" not in logs[cut_off]
    assert "this job is trained from its beginning: " in logs[damaged]
    assert "epoch   0" in logs[damaged]
    assert len({len((job / "metrics.csv").read_text().splitlines()) for job in jobs}) == 1
    ranks = [(job / "ranks.parquet").read_bytes() for job in jobs]
    for log in repeated("seed=1,2,3", "trainer.max_epochs=2"):
        assert "this job has ended in an earlier pass of the sweep; its results stay" in log
        assert "epoch" not in log
    assert [(job / "ranks.parquet").read_bytes() for job in jobs] == ranks
    assert (tmp_path / "sweep" / "comparison" / "comparison.json").is_file()
    # no job has a page, as after an interruption between the results and the page
    repeated("seed=1,2,3", "trainer.max_epochs=2", "report=quick")
    assert [(job / "report.html").is_file() for job in jobs] == [True] * 3
    assert [(job / "ranks.parquet").read_bytes() for job in jobs] == ranks


@pytest.mark.slow
def test_a_repeated_sweep_of_other_values_keeps_nothing_of_the_earlier_ones(
    repeated: Callable[..., list[str]], tmp_path: Path
) -> None:
    repeated("dropout=0.1,0.5", "trainer.max_epochs=1")
    first, second = sorted((tmp_path / "sweep").glob("[0-9]_*"))
    lists = [(job / "recommended.npy").read_bytes() for job in (first, second)]
    repeated("dropout=0.5,0.1", "trainer.max_epochs=1")  # folders have numbers, not values
    assert [(job / "recommended.npy").read_bytes() for job in (second, first)] == lists
    for job, dropout in ((first, 0.5), (second, 0.1)):
        assert yaml.safe_load((job / "config.yaml").read_text())["dropout"] == dropout
        assert yaml.safe_load((job / "hparams.yaml").read_text())["dropout"] == dropout
        assert (job / "checkpoints" / "last.ckpt").is_file()
    _, failed = repeated("dropout=0.5,7", "trainer.max_epochs=1", code=1)
    assert "dropout is 7" in failed
    assert not (second / "metrics.json").exists()
    record = json.loads((tmp_path / "sweep" / "comparison" / "comparison.json").read_text())
    assert [entry["folder"] for entry in record["unfinished"]] == [str(second)]


@pytest.mark.slow
def test_a_sweep_stops_where_every_job_would_fail_alike(small_settings: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    sweep = [f"hydra.sweep.dir='{folder}'", f"dataset.path={tmp_path}/nowhere", "method=plain,sage", "seed=1,2,3"]
    done = train("-m", *small_settings, *sweep)
    output = done.stdout + done.stderr
    assert done.returncode == 1
    assert "Traceback" not in output
    assert [job.name[0] for job in folder.glob("[0-9]_*")] == ["0"]
    assert output.count("is left out, since it would fail as others did") == 5
    assert "6 of 6 jobs have no results" in output


@pytest.mark.slow
def test_a_search_ends_with_the_best_beside_the_defaults(small_settings: list[str], tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    folder = tmp_path / "search"
    small = [*small_settings, "method=plain", "trainer.max_epochs=1", "search.trials=2", f"hydra.sweep.dir='{folder}'"]
    done = train("experiment=search", *small)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(
        r"trial 0: job 1 of 2;.*trial 1: job 2 of 2, about \d+ s left", done.stdout + done.stderr, re.DOTALL
    )
    rows = list(csv.DictReader((folder / "search.csv").open()))
    assert sorted(row["trial"] for row in rows) == ["0", "1"]
    assert {row["state"] for row in rows} == {"complete"}
    defaults = next(row for row in rows if row["trial"] == "0")
    assert (float(defaults["optimizer.lr"]), float(defaults["dropout"])) == (0.001, 0.5)
    assert (Path(rows[0]["folder"]) / "metrics.json").is_file()
    record = json.loads((folder / "comparison" / "comparison.json").read_text())
    assert systems(record) == {"0", rows[0]["trial"]}

    changed = train("experiment=search", *small, "objective.candidates=all")
    assert changed.returncode == 1
    assert "holds a search of other settings" in changed.stderr
    assert "Traceback" not in changed.stderr
