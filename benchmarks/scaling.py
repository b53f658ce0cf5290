"""Time and memory of training and ranking as the catalogue grows from 10 thousand to 10 million items, with sampled negatives.

``python benchmarks/scaling.py [THREADS]``. SASRec on random sequences; each case in a process of its own, so that its peak is
its own; the sizes of one kind take turns, a step each. Writes benchmarks/results/scaling.json.

- ``rows``: an ID table with sparse gradients and RowAdam; ``dense``: the same with Adam.
- ``text``: an adapter over frozen text of width 384 in float16, read from its file. Text files are sparse: they take no room,
  and no time to read from a disk is in the figures.
- ``text anew``: the same, but items are ranked without ever holding all their vectors.
"""

from __future__ import annotations

import functools
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from measuring import about, serve, take_turns, write
from memory import Watch, resident

from sage_pl.data.loader import HeldOutCases, TrainingUsers, load_sequences
from sage_pl.data.targets import NextItem
from sage_pl.hardware import keep_freed_memory
from sage_pl.nn.backbones.sasrec import SASRec
from sage_pl.nn.item_encoders.id import IdEncoder
from sage_pl.nn.item_encoders.text import TextEncoder
from sage_pl.nn.modules.sequential import SequentialRecommender
from sage_pl.nn.objectives.sampled_softmax import SampledSoftmax
from sage_pl.nn.sequence_encoders.single import SingleView
from sage_pl.training.optimizers.row_adam import RowAdam

SIZES = (10_000, 100_000, 1_000_000)
TEXT_SIZES = (10_000, 1_000_000, 10_000_000)
KINDS = {
    "rows": [("rows", size) for size in SIZES],
    "dense": [("dense", size) for size in SIZES],
    "text": [*(("text", size) for size in TEXT_SIZES), ("text anew", TEXT_SIZES[-1])],
}  # cases that take turns, the smallest first
ROUNDS = 20
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
    optimizer = (
        functools.partial(RowAdam, lr=0.001) if rows else functools.partial(torch.optim.Adam, lr=0.001, fused=True)
    )
    table_mb = 0.0 if kind == "text anew" else 4096.0
    objective = SampledSoftmax(folder)
    model = SequentialRecommender(items, backbone, NextItem(), objective, optimizer=optimizer, table_mb=table_mb)
    return model


def steps_of(folder: str, n_items: int, kind: str) -> tuple[Callable[[], object], Callable[[], dict[str, Any]]]:
    """Whole steps (batch, forward, backward, update), and at the end a ranking, for :func:`serve`."""
    keep_freed_memory()
    torch.manual_seed(0)
    libraries, random = sum(resident().values()), np.random.default_rng(1)
    data = load_sequences(folder)
    users, cases = TrainingUsers(data, MAX_LEN), HeldOutCases(data, data.valid, MAX_LEN)
    model = recommender(folder, n_items, kind)
    optimizer = model.configure_optimizers()

    def step() -> None:
        loss = model.training_step(users[random.integers(1, USERS + 1, BATCH)], 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def rank() -> dict[str, Any]:
        optimizer.zero_grad()
        model.eval()
        with Watch() as watch:
            seconds = timed(model.on_validation_epoch_start)
            ranking = timed(lambda: model.validation_step(cases[np.arange(BATCH)], 0))
        figures = {"table s": seconds, f"ranking {BATCH} users s": ranking}
        figures |= {f"ranking, peak {name}": value for name, value in watch.peak.items()}
        return {**figures, "libraries MB": libraries, "table MB": n_items * DIM * 4 / 2**20}

    return step, rank


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main(threads: int) -> None:
    torch.set_num_threads(threads)
    results: dict[str, Any] = about()
    print(results)
    with tempfile.TemporaryDirectory() as base:
        for n_items in sorted({size for cases in KINDS.values() for _, size in cases}):
            (Path(base) / str(n_items)).mkdir()
            write_sequences(Path(base) / str(n_items), n_items)
        for group, cases in KINDS.items():
            commands = {
                f"{kind} {size}": [__file__, str(threads), str(Path(base) / str(size)), str(size), kind]
                for kind, size in cases
            }
            figures, results[f"1 G beside {group}, s"] = take_turns(commands, ROUNDS)
            smallest = next(iter(figures.values()))
            for name, found in figures.items():
                for time_of in ("s", "processor s"):
                    found[f"{time_of}, times the smallest"] = found[time_of] / smallest[time_of]
                text = "  ".join(f"{label} {value:.3g}" for label, value in found.items())
                print(f"{name:18} {text}", flush=True)
            results |= figures
    write("scaling", results)


if __name__ == "__main__":
    match sys.argv[1:]:
        case [threads, folder, size, kind]:
            torch.set_num_threads(int(threads))
            serve(lambda: steps_of(folder, int(size), kind))
        case [threads]:
            main(int(threads))
        case _:
            main(torch.get_num_threads())
