"""How long 20 million interactions take to be filtered, numbered and split, and how much memory.

Run: python benchmarks/preparation.py [interactions]. Writes benchmarks/results/preparation.json. The target is 60 s and 6 GB on
two cores. Users are drawn evenly from 1 million, items by Zipf's law from 200,000; ids are text, as in raw dumps.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

USERS, ITEMS = 1_000_000, 200_000
RESULT = Path(__file__).parent / "results" / "preparation.json"


def synthesise(folder: Path, n: int) -> None:
    random = np.random.default_rng(0)
    weight = 1 / np.arange(1, ITEMS + 1)
    users = random.integers(USERS, size=n)
    items = np.searchsorted(np.cumsum(weight / weight.sum()), random.random(n))
    times = random.integers(1_300_000_000, 1_400_000_000, size=n)
    pl.DataFrame({"user": users, "item": items, "timestamp": times}).lazy().select(
        user_id=pl.format("A{}", pl.col("user")), item_id=pl.format("B{}", pl.col("item")), timestamp="timestamp"
    ).sink_parquet(folder / "interactions.parquet")


def prepare(folder: Path) -> None:
    """Runs the step; prints its time and this process's peak memory."""
    from sage_pl.data.filters import KCore
    from sage_pl.data.interactions import Interactions
    from sage_pl.data.sources.folder import Folder
    from sage_pl.data.split import LeaveOneOut

    out = folder / "out"
    out.mkdir()
    start = time.perf_counter()
    Interactions(Folder(folder), LeaveOneOut(), (KCore(),)).run({}, out)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    report = json.loads((out / "report.json").read_text())
    print(json.dumps({"seconds": round(seconds, 1), "peak_rss_gib": round(peak, 2), "stages": report["stages"]}))


def main(n: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        # In processes of their own, so that making the data does not count as the step's memory.
        subprocess.run([sys.executable, __file__, "synthesise", folder, str(n)], check=True)
        child = subprocess.run(
            [sys.executable, __file__, "prepare", folder], check=True, stdout=subprocess.PIPE, text=True
        )
    result = {
        "interactions": n,
        **json.loads(child.stdout),
        "target": {"seconds": 60, "peak_rss_gib": 6},
        "cpus": os.cpu_count(),
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in ("polars", "numpy", "sage-pl")},
        },
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["synthesise", folder, n]:
            synthesise(Path(folder), int(n))
        case ["prepare", folder]:
            prepare(Path(folder))
        case rest:
            main(int(rest[0]) if rest else 20_000_000)
