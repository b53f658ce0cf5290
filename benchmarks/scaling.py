"""Time and memory of a training step as the catalogue grows: SASRec with sampled negatives, 10 thousand to 1 million items.

``python benchmarks/scaling.py``. Sequences are random; ``rows`` is sparse gradients with RowAdam, ``dense`` is Adam.
Each size runs in a process of its own, so that the peak of its memory is its own.
"""

from __future__ import annotations

import functools
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from steps import median_seconds, unit

from sage_pl.backbones.sasrec import SASRec
from sage_pl.data.loader import TrainingUsers, load_sequences
from sage_pl.data.targets import NextItem
from sage_pl.item_encoders.id import IdEncoder
from sage_pl.models.sequential import SequentialRecommender
from sage_pl.objectives.sampled_softmax import SampledSoftmax
from sage_pl.optimizers.row_adam import RowAdam
from sage_pl.sequence_encoders.single import SingleView

SIZES = (10_000, 100_000, 1_000_000)
KINDS = ("rows", "dense")
USERS, EVENTS, BATCH, MAX_LEN, DIM = 100_000, 20, 256, 50, 64


def write_sequences(folder: Path, n_items: int) -> None:
    """A ``sequences`` artifact of users with as many random items each; the last two are held out."""
    user = np.arange(1, USERS + 1)
    arrays = {
        "values": np.random.default_rng(0).integers(1, n_items + 1, USERS * EVENTS, dtype=np.int32),
        "offsets": np.concatenate([[0], np.arange(USERS + 1) * EVENTS]),
        "train_end": np.concatenate([[0], np.full(USERS, EVENTS - 2)]),
    }
    for split, at in (("valid", EVENTS - 2), ("test", EVENTS - 1)):
        arrays |= {f"{split}_user": user, f"{split}_at": np.full(USERS, at)}
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    pl.DataFrame({"item": np.arange(1, n_items + 1)}).write_parquet(folder / "items.parquet")
    (folder / "manifest.json").write_text(json.dumps({"key": f"random-{n_items}"}))


def measure(folder: str, n_items: int, kind: str, repeats: int = 10) -> dict[str, float]:
    """Whole steps (batch, forward, backward, update): median and processor time; memory beyond the loaded libraries."""
    torch.manual_seed(0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rows = kind == "rows"
    users = TrainingUsers(load_sequences(folder), MAX_LEN)
    model = SequentialRecommender(
        IdEncoder(n_items, DIM, sparse=rows),
        SingleView(SASRec(DIM, MAX_LEN)),
        NextItem(),
        SampledSoftmax(folder),
        optimizer=functools.partial(RowAdam if rows else torch.optim.Adam, lr=0.001),
    )
    model.log_dict = lambda *_, **__: None  # type: ignore[method-assign, assignment]
    optimizer, random = model.configure_optimizers(), np.random.default_rng(1)

    def step() -> None:
        loss = model.training_step(users[random.integers(1, USERS + 1, BATCH)], 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    step()
    start = time.process_time()
    seconds = median_seconds(step, repeats)
    busy = (time.process_time() - start) / (repeats + 1)
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return {"seconds": seconds, "processor s": busy, "peak MB": peak, "table MB": n_items * DIM * 4 / 2**20}


def apart(folder: str, n_items: int, kind: str) -> dict[str, float]:
    """The same in a process of its own."""
    command = [sys.executable, __file__, folder, str(n_items), kind]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    one = unit()
    results: dict[str, Any] = {"torch": torch.__version__, "threads": torch.get_num_threads(), "1 G, s": one}
    with tempfile.TemporaryDirectory() as base:
        for n_items in SIZES:
            folder = Path(base) / str(n_items)
            folder.mkdir()
            write_sequences(folder, n_items)
            for kind in KINDS:
                figures = apart(str(folder), n_items, kind)
                first = results.setdefault(f"{kind} {SIZES[0]}", figures)
                figures["times the smallest"] = figures["processor s"] / first["processor s"]
                results[f"{kind} {n_items}"] = figures
                text = "  ".join(f"{label} {value:.3g}" for label, value in figures.items())
                print(f"{kind:6} {n_items:>9,} items  {text}", flush=True)
    out = Path(__file__).parent / "results" / "scaling.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    if len(sys.argv) == 4:
        print(json.dumps(measure(sys.argv[1], int(sys.argv[2]), sys.argv[3])))
    else:
        main()
