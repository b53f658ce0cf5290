"""Hydra's launchers as commands: two jobs at once, one preparation, one comparison."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import pytest

from sage_pl.artifacts.files import lives
from tests.e2e import fake_slurm

ROOT = Path(__file__).parent.parent.parent
RAY = [
    "hydra/launcher=ray",
    "+hydra.launcher.ray.init.num_cpus=2",
    "+hydra.launcher.ray.init.include_dashboard=false",
    "+hydra.launcher.ray.init.log_to_driver=false",
]
LAUNCHERS = {
    "joblib": ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"],
    "submitit_local": ["hydra/launcher=submitit_local"],
    "submitit_slurm": ["hydra/launcher=submitit_slurm", "hydra.launcher.timeout_min=10"],
    "ray": RAY,
}


def plugin(launcher: str) -> str:
    return f"hydra_plugins.hydra_{launcher.split('_')[0]}_launcher"


def sweep(
    launcher: str, settings: list[str], folder: Path, *arguments: str, doors: tuple[str, ...] = ("train.py",)
) -> subprocess.CompletedProcess[str]:
    """A sweep from another folder than the clone's, named relative to it."""
    if find_spec(plugin(launcher)) is None:
        pytest.skip(f"hydra/launcher={launcher} is not installed")
    folder.mkdir(exist_ok=True)
    environment = fake_slurm.install(folder / "bin") if launcher == "submitit_slurm" else dict(os.environ)
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])])
    program = [str(ROOT / doors[0])] if doors[0].endswith(".py") else list(doors)
    command = [sys.executable, *program, "-m", *settings, *LAUNCHERS[launcher], "hydra.sweep.dir=sweep", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False
    )


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_jobs_prepare_once_and_are_compared(launcher: str, small_settings: list[str], tmp_path: Path) -> None:
    """A bad value fails alone; the comparison names it, and its baseline is the first value."""
    folder = tmp_path / "it is here"
    settings = [*small_settings, f"paths.outputs={tmp_path}/outputs", "method=plain", "trainer.max_epochs=1"]
    doors = ("-m", "sage_pl", "train") if launcher == "joblib" else ("train.py",)
    done = sweep(launcher, settings, folder, "objective.candidates=trained,all,nonsense", doors=doors)
    output = done.stdout + done.stderr
    assert done.returncode == 1, output
    jobs = sorted((folder / "sweep").glob("[0-9]_*"))
    assert [(job / "metrics.json").is_file() for job in jobs] == [True, True, False], output
    record = json.loads((folder / "sweep" / "comparison" / "comparison.json").read_text())
    assert {value["baseline"] for value in record["values"]} - {None} == {"trained"}
    assert [entry["folder"] for entry in record["unfinished"]] == [str(jobs[2])]
    assert "1 of 3 jobs have no results" in output
    logs = "".join((job / "train.log").read_text() for job in jobs)
    for step in ("sequences", "candidates", "transitions"):
        made = re.findall(rf"{step} +\w+  running", logs)
        assert len(made) == 1, logs


@pytest.mark.slow
def test_a_search_goes_on_without_a_worker_that_was_killed(small_settings: list[str], tmp_path: Path) -> None:
    """Two trials at once in a journal; the worker of the second one is killed, and its training ends with it."""
    pytest.importorskip("optuna")
    folder = tmp_path / "search"
    settings = [*small_settings, "experiment=search", "method=plain", "search.trials=3", "search.parallel=2"]
    settings += [f"search.storage={tmp_path}/study.journal", "trainer.max_epochs=2", "search.warmup=0"]
    with ThreadPoolExecutor(1) as pool:
        search = pool.submit(sweep, "submitit_local", settings, folder)
        holder = folder / "sweep" / "1_folder_plain-sasrec-seed42" / ".lock.holder"
        while not (search.done() or (holder.is_file() and holder.read_text())):
            time.sleep(0.05)
        assert not search.done(), search.result()
        trial = int(json.loads(holder.read_text())["pid"])
        worker = int(Path(f"/proc/{trial}/stat").read_text().rpartition(")")[2].split()[1])
        os.kill(worker, signal.SIGKILL)
        done = search.result()
    output = done.stdout + done.stderr
    assert done.returncode == 1
    assert "LocalLauncher ended without the results of its jobs" in output
    assert "1 of 3 trials failed" in output
    rows = {row["trial"]: row for row in csv.DictReader((folder / "sweep" / "search.csv").open())}
    assert [rows[str(number)]["state"] for number in range(3)] == ["complete", "fail", "complete"], output
    assert not lives(trial)
    record = json.loads((folder / "sweep" / "comparison" / "comparison.json").read_text())
    assert [Path(entry["folder"]).name for entry in record["unfinished"]] == ["1_folder_plain-sasrec-seed42"]
