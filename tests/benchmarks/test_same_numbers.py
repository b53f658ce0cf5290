"""Metrics before and after a change: equal to the last digit or not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent.parent / "benchmarks" / "same_numbers.py"
METRICS = {"test/full/ndcg@10": 0.1, "test/full/hr@10": 0.2, "test/full/hr@10/day_own": float("nan")}


def write(folder: Path, run: str, **changed: float) -> None:
    (folder / run).mkdir(parents=True)
    (folder / run / "metrics.json").write_text(json.dumps(METRICS | changed))


def call(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_equal_runs_made_at_other_times(tmp_path: Path) -> None:
    write(tmp_path / "a", "runs/plain/2026-01-01_10-00-00-000000")
    write(tmp_path / "b", "runs/plain/2026-01-02_11-00-00-000000")
    done = call(tmp_path / "a", tmp_path / "b")
    assert (done.returncode, done.stdout) == (0, "runs/plain: 3 of 3 metrics are equal\n")


@pytest.mark.parametrize("changed", [{"test/full/ndcg@10": 0.1 + 2**-56}, {"new": 1.0}], ids=["last digit", "a name"])
def test_what_differs_is_listed(tmp_path: Path, changed: dict[str, float]) -> None:
    write(tmp_path / "a", "plain")
    write(tmp_path / "b", "plain", **changed)
    done = call(tmp_path / "a", tmp_path / "b")
    assert done.returncode == 1
    assert f"{next(iter(changed))}: " in done.stdout


def test_a_run_that_is_missing_differs(tmp_path: Path) -> None:
    write(tmp_path / "a", "plain")
    write(tmp_path / "b", "plain")
    write(tmp_path / "b", "sage")
    done = call(tmp_path / "a", tmp_path / "b")
    assert done.returncode == 1
    assert "sage: 0 of 3 metrics are equal" in done.stdout


def test_a_folder_without_runs_is_one_line(tmp_path: Path) -> None:
    done = call(tmp_path, tmp_path)
    assert done.returncode == 1
    assert done.stderr == f"{tmp_path} holds neither train.py nor a metrics.json\n"
