"""Two processes beside one: whether a run is the same, and how long its steps and epochs take.

``python benchmarks/processes.py equal METHOD... [key=value]`` trains each method by one process and by two, without dropout,
and goes on from the two processes' first epoch by one. ``python benchmarks/processes.py speed [key=value]`` times epochs, one
thread per process, runs of one and two processes in turns. Figures go to benchmarks/results/processes-equal.json and
processes-speed.json.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import polars as pl
from measuring import ROOT, about, write

TOGETHER = ["trainer.devices=2", "trainer.strategy=ddp"]
EQUAL = ["dropout=0", "products=float32", "report=null", "trainer.accelerator=cpu"]
SPEED = ["trainer.max_epochs=2", "trainer.accelerator=cpu", "report=null", "floors=false"]
ROUNDS = 3


def run(folder: Path, *overrides: str) -> list[dict[str, str]]:
    """Train by ``train.py``; the rows of its table."""
    command = [sys.executable, str(ROOT / "train.py"), *overrides, f"hydra.run.dir={folder}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        sys.exit(f"{' '.join(overrides)}: {(done.stdout + done.stderr)[-1500:]}")
    with (folder / "metrics.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def values(rows: list[dict[str, str]], epoch: int, prefix: str) -> dict[str, float]:
    """Logged values of an epoch by name."""
    here = [row for row in rows if row["epoch"] == str(epoch)]
    return {k: float(v) for row in here for k, v in row.items() if k.startswith(prefix) and v}


def apart(one: dict[str, float], two: dict[str, float], relative: bool = False) -> float:
    """The largest difference of values with the same names."""
    assert one.keys() == two.keys(), sorted(one.keys() ^ two.keys())
    return max((abs(one[k] - two[k]) / (max(abs(one[k]), 1e-9) if relative else 1) for k in one), default=0.0)


def compared(method: str, folder: Path, overrides: list[str]) -> dict[str, Any]:
    """Differences between one process and two: losses and validation of the first epoch, test after going on alone, and the
    test of the same checkpoint by both."""
    settings = [f"method={method}", *EQUAL, *overrides]
    alone = run(folder / "alone", *settings, "trainer.max_epochs=2")
    first = run(folder / "first", *settings, *TOGETHER, "trainer.max_epochs=1")
    last = f"resume={folder / 'first' / 'checkpoints' / 'last.ckpt'}"
    run(folder / "again", last, "trainer.max_epochs=1", "trainer.devices=1", "trainer.strategy=auto")
    on = run(folder / "on", last, "trainer.max_epochs=2", "trainer.devices=1", "trainer.strategy=auto")
    tests = {
        name: json.loads((folder / name / "metrics.json").read_text()) for name in ("alone", "first", "again", "on")
    }
    frames = [pl.read_parquet(folder / name / "ranks.parquet") for name in ("first", "again")]
    lists = [np.load(folder / name / "recommended.npy") for name in ("first", "again")]
    return {
        "loss, relative": apart(values(alone, 0, "train/loss"), values(first, 0, "train/loss"), relative=True),
        "validation": apart(values(alone, 0, "val/full/ndcg@10"), values(first, 0, "val/full/ndcg@10")),
        "resumed by one": apart(*({"x": tests[name]["test/full/ndcg@10"]} for name in ("alone", "on"))),
        "loss of the resumed epoch, relative": apart(
            values(alone, 1, "train/loss"), values(on, 1, "train/loss"), relative=True
        ),
        "same test": bool(tests["first"] == tests["again"] and frames[0].equals(frames[1]) and np.array_equal(*lists)),
    }


def speed(folder: Path, overrides: list[str]) -> dict[str, Any]:
    """Seconds of training and of validation in the second epoch, and their ratios."""
    found: dict[str, dict[str, list[float]]] = {"one": {}, "two": {}}
    for number in range(ROUNDS):
        for name, own in (("one", []), ("two", TOGETHER)):
            rows = run(folder / f"{name}{number}", *SPEED, *overrides, *own)
            for figure in ("train/seconds", "val/seconds"):
                found[name].setdefault(figure, []).append(values(rows, 1, figure)[figure])
    ratio = {k: median(found["one"][k]) / median(found["two"][k]) for k in found["one"]}
    epochs = [median(map(sum, zip(*of.values(), strict=True))) for of in found.values()]
    return {**found, "times faster": {**ratio, "epoch": epochs[0] / epochs[1]}}


def main(mode: str, *arguments: str) -> None:
    overrides = [argument for argument in arguments if "=" in argument]
    told = [entry for entry in overrides if not entry.startswith(("paths.", "dataset.path"))]
    file = ROOT / "benchmarks" / "results" / f"processes-{mode}.json"
    with tempfile.TemporaryDirectory() as folder:
        if mode == "speed":
            results = {" ".join(told): speed(Path(folder), overrides)}
        else:
            methods = [argument for argument in arguments if "=" not in argument]
            results = {method: compared(method, Path(folder) / method, overrides) for method in methods}
    before = json.loads(file.read_text()) if file.is_file() else {}
    print(json.dumps(results, indent=2))
    write(file.stem, {**before, **about(), **results})


if __name__ == "__main__":
    main(*sys.argv[1:])
