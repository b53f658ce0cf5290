"""Time and memory of preparation and of reading batches as the number of interactions grows.

``python benchmarks/scale.py [EVENTS[:USERS:ITEMS] ...]``, by default 1,000,000 and 10,000,000 events with 20 per user and 100
per item. ``SCALE_DATA`` names a folder that keeps the synthetic tables. Each size in a process of its own, so that its peak is
its own. Writes benchmarks/results/scale.json; sizes that are not measured keep their figures.

The interactions are seeded: an event per second of a random user with an item drawn by Zipf's law, in the order of time, in
Parquet parts of 10 million events.

- ``hash``: sha256 of the parts, which names the artifact.
- ``encode``: ids to codes, rows sorted by user and time.
- ``filter``: the 5-core; the 1-core, which leaves nothing out, where users and items are named.
- ``write``: numbering, sequences, split, tables and the report.
- ``counts``: training events per item, which groups and floors read.
- ``batches``: 1,000 training batches of 256 users, read from the mapped files.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from measuring import ROOT, about, write
from memory import Watch, resident

SIZES = (1_000_000, 10_000_000)
PER_USER, PER_ITEM, PART = 20, 100, 10_000_000
BATCHES, USERS, MAX_LEN = 1_000, 256, 50
RESULT = ROOT / "benchmarks" / "results" / "scale.json"


def synthesise(folder: Path, n: int, users: int, items: int) -> None:
    """The table of ``n`` interactions, part by part; a whole one is kept."""
    if (folder / "_SUCCESS").is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    popularity = np.cumsum(1 / np.arange(1, items + 1))
    for start in range(0, n, PART):
        generator, size = np.random.default_rng((0, start)), min(PART, n - start)
        item = np.searchsorted(popularity, generator.random(size) * popularity[-1])
        columns = {"user_id": generator.integers(users, size=size), "item_id": item}
        frame = pl.DataFrame({**columns, "timestamp": 1_300_000_000 + np.arange(start, start + size)})
        frame.write_parquet(folder / f"part-{start // PART:05}.parquet")
    (folder / "_SUCCESS").touch()


@contextlib.contextmanager
def timed(owner: Any, name: str, seconds: dict[str, float]) -> Iterator[None]:
    """Add up the time in a function of the preparation under its name."""
    original: Callable[..., Any] = getattr(owner, name)

    def work(*arguments: Any) -> Any:
        start = time.perf_counter()
        try:
            return original(*arguments)
        finally:
            seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - start

    setattr(owner, name, work)
    try:
        yield
    finally:
        setattr(owner, name, original)


def measure(folder: Path, least: int) -> dict[str, Any]:
    """The stages of one size in this process, with the ``least``-core."""
    from sage_pl.data import interactions
    from sage_pl.data.filters import KCore
    from sage_pl.data.loader import TrainingUsers
    from sage_pl.data.sequences import Sequences
    from sage_pl.data.sources.folder import Folder
    from sage_pl.data.split import LeaveOneOut

    source = Folder(f"{folder}/*.parquet")
    figures: dict[str, Any] = {"MB before": resident()}

    def stage(name: str, work: Callable[[], Any]) -> Any:
        with Watch() as watch:
            start, busy = time.perf_counter(), time.process_time()
            result = work()
            seconds = {"s": time.perf_counter() - start, "processor s": time.process_time() - busy}
        peak = {f"peak {kind}": round(value) for kind, value in watch.peak.items()}
        figures[name] = {**{kind: round(value, 2) for kind, value in seconds.items()}, **peak}
        return result

    stage("hash", source.fingerprint)
    with tempfile.TemporaryDirectory(dir=folder.parent) as place:
        out, parts = Path(place), dict[str, float]()
        with timed(interactions, "encode", parts), timed(KCore, "over", parts):
            stage(
                "prepare", lambda: interactions.Interactions(source, LeaveOneOut(), (KCore(least, least),)).run({}, out)
            )
        figures["prepare"] |= {"encode s": round(parts["encode"], 2), "filter s": round(parts["over"], 2)}
        figures["prepare"]["write s"] = round(figures["prepare"]["s"] - sum(parts.values()), 2)
        figures["stages"] = json.loads((out / "report.json").read_text())["stages"]
        (out / "manifest.json").write_text(json.dumps({"key": "scale"}))
        sequences = Sequences.load(artifact(out))
        stage("counts", lambda: sequences.train_counts)
        readable = np.flatnonzero(sequences.train_end >= 2)
        data, generator = TrainingUsers(sequences, MAX_LEN), np.random.default_rng(0)
        stage("batches", lambda: [data[generator.choice(readable, USERS)] for _ in range(BATCHES)])
    return figures


def artifact(folder: Path) -> Any:
    from sage_pl.artifacts.store import Artifact

    return Artifact.at(folder)


def main(cases: list[str]) -> None:
    results = json.loads(RESULT.read_text()) if RESULT.is_file() else {"sizes": {}}
    with tempfile.TemporaryDirectory() as place:
        data = Path(os.environ.get("SCALE_DATA", place))
        for case in cases:
            n, *others = map(int, case.split(":"))
            users, items = others or (n // PER_USER, n // PER_ITEM)
            folder = str(data / case.replace(":", "-"))
            # Making the data does not count as memory of the stages.
            subprocess.run([sys.executable, __file__, "synthesise", folder, *map(str, (n, users, items))], check=True)
            command = [sys.executable, __file__, "measure", folder, "1" if others else "5"]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
            results["sizes"][case] = json.loads(done.stdout.splitlines()[-1])
            print(case, json.dumps(results["sizes"][case]))
            write("scale", {**about(), "polars": pl.__version__, "polars threads": pl.thread_pool_size(), **results})


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["synthesise", folder, *sizes]:
            synthesise(Path(folder), *map(int, sizes))
        case ["measure", folder, least]:
            print(json.dumps(measure(Path(folder), int(least))))
        case cases:
            main(cases or [str(size) for size in SIZES])
