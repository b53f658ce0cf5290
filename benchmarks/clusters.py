"""Time, memory and agreement of clusters where all items are projected, and where a sample is.

``python benchmarks/clusters.py DATA:SAMPLE[:SEED[:DIVISOR]] ...``; DATA is a number of synthetic items, or a ``table.npy`` of
the step ``reduce``; SAMPLE a number of items, or ``all``; DIVISOR that of the sizes, as a half sample has half of the items of
each cluster. Each case in a process of its own, one thread. Agreement is the adjusted Rand index with the mixture (synthetic
items) and with earlier cases of the same data: of all items with noise as one label, and of those in clusters both times.
Writes benchmarks/results/clusters.json; cases that are not measured keep their figures.

Synthetic items are drawn from 300 normal distributions in 64 dimensions, whose centres have a standard deviation of 1 and whose
shares are drawn from a flat Dirichlet distribution.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from measuring import ROOT, about, write
from sklearn.metrics import adjusted_rand_score

WIDTH, COMPONENTS = 64, 300
RESULT = ROOT / "benchmarks" / "results" / "clusters.json"


def mixture(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Points [N, D] float32 and their components [N]."""
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(COMPONENTS, WIDTH)).astype(np.float32)
    truth = generator.choice(COMPONENTS, n, p=generator.dirichlet(np.ones(COMPONENTS)))
    points = generator.standard_normal((n, WIDTH), dtype=np.float32)
    points += centres[truth]
    return points, truth


def measure(data: str, sample: str, seed: str, divisor: str, out: Path) -> dict[str, Any]:
    """The step in this process, with its default sizes; its files go to ``out``."""
    from sage_pl.artifacts.store import Artifact
    from sage_pl.semantic import cluster
    from sage_pl.semantic.tables import write_padded

    if data.isdecimal():
        (reduce := out / "reduce").mkdir()
        write_padded(mixture(int(data))[0], reduce / "table.npy")
    else:
        reduce = Path(data).parent
    seconds: dict[str, float] = {}

    def timed(owner: Any, name: str) -> None:
        original: Callable[..., Any] = getattr(owner, name)

        def work(*arguments: Any) -> Any:
            start = time.process_time()
            result = original(*arguments)
            seconds[name.strip("_")] = round(time.process_time() - start, 1)
            return result

        setattr(owner, name, work)

    for owner, name in ((cluster.Cluster, "_project"), (cluster.Cluster, "_cluster"), (cluster, "carried")):
        timed(owner, name)
    before, start, busy = peak(), time.perf_counter(), time.process_time()
    most = None if sample == "all" else int(sample)
    sizes = {
        key: value // int(divisor)
        for key, value in (("n_neighbors", 30), ("min_cluster_size", 20), ("min_samples", 10))
    }
    cluster.Cluster(sample=most, seed=int(seed), **sizes).run({"reduce": Artifact("reduce", reduce, {})}, out)
    report = json.loads((out / "report.json").read_text())
    return {
        "s": round(time.perf_counter() - start, 1), "processor s": round(time.process_time() - busy, 1), **seconds,
        "MB before": before, "peak MB": peak(), **{name: report[name] for name in ("clusters", "noise", "silhouette")},
    }  # fmt: skip


def agreement(one: np.ndarray, other: np.ndarray) -> list[float]:
    """Of all items, and of those in clusters both times."""
    both = (one >= 0) & (other >= 0)
    return [round(adjusted_rand_score(*pair), 4) for pair in ((one, other), (one[both], other[both]))]


def peak() -> int:
    """MB in memory at most so far, pages of files included."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main(cases: list[str]) -> None:
    results = json.loads(RESULT.read_text())["cases"] if RESULT.is_file() else {}
    with tempfile.TemporaryDirectory() as place:
        labels: dict[str, dict[str, np.ndarray]] = {}
        for case in cases:
            given = case.split(":")
            data, sample, seed, divisor = [*given, *("42", "1")[len(given) - 2 :]]
            name = ":".join([data if data.isdecimal() else f"{len(np.load(data, mmap_mode='r')) - 2} items of a data set",
                             sample, seed, divisor])  # fmt: skip
            (out := Path(place) / str(len(results) + 100 * len(labels))).mkdir(exist_ok=True)
            command = [sys.executable, __file__, "measure", data, sample, seed, divisor, str(out)]
            done = subprocess.run(
                command, check=True, stdout=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"}
            )
            results[name] = json.loads(done.stdout.splitlines()[-1])
            mine = np.load(out / "labels.npy")[1:-1]
            others = labels.setdefault(data, {})
            if data.isdecimal():
                results[name]["agreement with the mixture"] = agreement(mixture(int(data))[1], mine)
            results[name]["agreement with"] = {other: agreement(theirs, mine) for other, theirs in others.items()}
            others[f"{sample}:{seed}:{divisor}"] = mine
            print(name, json.dumps(results[name]), flush=True)
            write("clusters", {**about(), "cases": results})


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["measure", data, sample, seed, divisor, out]:
            print(json.dumps(measure(data, sample, seed, divisor, Path(out))))
        case cases:
            main(cases)
