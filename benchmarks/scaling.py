"""Time and memory of training and ranking as the catalogue grows from 10 thousand to 10 million items, with sampled negatives.

``python benchmarks/scaling.py``. SASRec on random sequences; each case in a process of its own, so that its peak is its own.

- ``rows``: an ID table with sparse gradients and RowAdam; ``dense``: the same with Adam.
- ``text``: an adapter over frozen text of width 384 in float16, read from its file. Text files are sparse: they take no room,
  and no time to read from a disk is in the figures.
- ``text anew``: the same, but items are ranked without ever holding all their vectors.
"""

from __future__ import annotations

import functools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from memory import Watch, resident
from steps import median_seconds, unit

from sage_pl.backbones.sasrec import SASRec
from sage_pl.data.loader import HeldOutCases, TrainingUsers, load_sequences
from sage_pl.data.targets import NextItem
from sage_pl.item_encoders.id import IdEncoder
from sage_pl.item_encoders.text import TextEncoder
from sage_pl.models.sequential import SequentialRecommender
from sage_pl.objectives.sampled_softmax import SampledSoftmax
from sage_pl.optimizers.row_adam import RowAdam
from sage_pl.sequence_encoders.single import SingleView

SIZES = (10_000, 100_000, 1_000_000)
CASES = [(size, kind) for kind in ("rows", "dense") for size in SIZES]
CASES += [(size, "text") for size in (10_000, 1_000_000, 10_000_000)] + [(10_000_000, "text anew")]
USERS, EVENTS, BATCH, MAX_LEN, DIM, TEXT = 100_000, 20, 256, 50, 64, 384


def write_sequences(folder: Path, n_items: int) -> None:
    """A ``sequences`` artifact of users with as many random items each, the last two held out; and empty text."""
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
    np.lib.format.open_memmap(folder / "table.npy", mode="w+", dtype=np.float16, shape=(n_items + 2, TEXT))
    pl.DataFrame({"item": np.arange(1, n_items + 1)}).write_parquet(folder / "items.parquet")
    (folder / "manifest.json").write_text(json.dumps({"key": f"random-{n_items}"}))


def recommender(folder: str, n_items: int, kind: str) -> SequentialRecommender:
    text, rows = kind.startswith("text"), kind == "rows"
    items = TextEncoder(n_items, folder, DIM) if text else IdEncoder(n_items, DIM, sparse=rows)
    backbone = SingleView(SASRec(DIM, MAX_LEN), "text" if text else "id")
    optimizer = functools.partial(RowAdam if rows else torch.optim.Adam, lr=0.001)
    table_mb = 0.0 if kind == "text anew" else 4096.0
    objective = SampledSoftmax(folder)
    model = SequentialRecommender(items, backbone, NextItem(), objective, optimizer=optimizer, table_mb=table_mb)
    model.log_dict = lambda *_, **__: None  # type: ignore[method-assign, assignment]
    return model


def measure(folder: str, n_items: int, kind: str, repeats: int = 10) -> dict[str, float]:
    """Whole steps (batch, forward, backward, update): median and processor time; full ranking; peaks of memory."""
    torch.manual_seed(0)
    before, random = resident(), np.random.default_rng(1)
    with Watch() as watch:
        data = load_sequences(folder)
        users, cases = TrainingUsers(data, MAX_LEN), HeldOutCases(data, data.valid, MAX_LEN)
        model = recommender(folder, n_items, kind)
        optimizer = model.configure_optimizers()

        def step() -> None:
            loss = model.training_step(users[random.integers(1, USERS + 1, BATCH)], 0)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

        step()
        start = time.process_time()
        seconds = median_seconds(step, repeats)
        busy = (time.process_time() - start) / (repeats + 1)
    figures = {"step s": seconds, "processor s": busy, **{f"training, {k}": v for k, v in watch.peak.items()}}
    optimizer.zero_grad()
    model.eval()
    with Watch() as watch:
        figures["table s"] = timed(model.on_validation_epoch_start)
        figures[f"ranking {BATCH} users s"] = timed(lambda: model.validation_step(cases[np.arange(BATCH)], 0))
    figures |= {f"ranking, {name}": value for name, value in watch.peak.items()}
    return {**figures, "libraries MB": sum(before.values()), "table MB": n_items * DIM * 4 / 2**20}


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def apart(folder: str, n_items: int, kind: str) -> dict[str, float]:
    """The same in a process of its own."""
    command = [sys.executable, __file__, folder, str(n_items), kind]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def main() -> None:
    results: dict[str, Any] = {"torch": torch.__version__, "threads": torch.get_num_threads(), "1 G, s": unit()}
    with tempfile.TemporaryDirectory() as base:
        for n_items, kind in CASES:
            folder = Path(base) / str(n_items)
            if not folder.is_dir():
                folder.mkdir()
                write_sequences(folder, n_items)
            figures = apart(str(folder), n_items, kind)
            first = results.setdefault(f"{kind.split()[0]} {SIZES[0]}", figures)
            figures["times the smallest"] = figures["processor s"] / first["processor s"]
            results[f"{kind} {n_items}"] = figures
            text = "  ".join(f"{label} {value:.3g}" for label, value in figures.items())
            print(f"{kind:9} {n_items:>10,} items  {text}", flush=True)
    out = Path(__file__).parent / "results" / "scaling.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    if len(sys.argv) == 4:
        print(json.dumps(measure(sys.argv[1], int(sys.argv[2]), sys.argv[3])))
    else:
        main()
