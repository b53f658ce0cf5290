"""Memory of a process whose table of items is in shards, at 1, 2 and 4 processes.

``python benchmarks/shards.py [ITEMS]``. SASRec, width 64, with sampled softmax and RowAdam on random sequences: three steps of
256 users, the ranking of 128 cases among all items, and a checkpoint. The memory is a process's own pages beyond those it has
before the model is built, the largest over the processes. Writes benchmarks/results/shards.json.
"""

from __future__ import annotations

import functools
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import ROOT, about, write
from memory import Watch, resident
from scaling import BATCH, DIM, MAX_LEN, write_sequences
from torch.distributed import TCPStore

from sage_pl import processes
from sage_pl.data.loader import HeldOutCases, TrainingUsers, load_sequences
from sage_pl.data.targets import NextItem
from sage_pl.nn.backbones.sasrec import SASRec
from sage_pl.nn.item_encoders.sharded import ShardedIds
from sage_pl.nn.modules.sequential import SequentialRecommender
from sage_pl.nn.objectives.sampled_softmax import SampledSoftmax
from sage_pl.nn.sequence_encoders.single import SingleView
from sage_pl.runs.sharded import gather_tables
from sage_pl.training.optimizers.row_adam import RowAdam

COUNTS, STEPS, CASES = (1, 2, 4), 3, 128


def worker(rank: int, count: int, port: int, folder: str, n_items: int, pipe: Any) -> None:
    """One of ``count`` processes; sends MiB and seconds of each part."""
    torch.set_num_threads(1)
    if count > 1:
        processes.join(rank, count, TCPStore("127.0.0.1", port, count + 1, is_master=False))
    sequences = load_sequences(folder)
    objective, reader = SampledSoftmax(folder), SingleView(SASRec(DIM, MAX_LEN))
    before = resident()["own MB"]
    figures: dict[str, float] = {}

    def watched(name: str, work: Callable[[], object]) -> None:
        start = time.perf_counter()
        with Watch() as watch:
            work()
        figures[f"{name}, s"] = time.perf_counter() - start
        figures[f"{name}, MB"] = watch.peak["own MB"] - before

    torch.manual_seed(0)
    model: Any = SequentialRecommender(
        ShardedIds(n_items, DIM), reader, NextItem(), objective, {}, functools.partial(RowAdam, lr=0.001)
    )
    figures["table, MB"] = resident()["own MB"] - before
    optimizer = model.configure_optimizers()
    users = TrainingUsers(sequences, MAX_LEN)

    def train() -> None:
        for step in range(STEPS):
            optimizer.zero_grad()
            model.training_step(users[np.arange(1, BATCH + 1) + step * BATCH], 0).backward()
            model.on_after_backward()
            optimizer.step()
            model.weighted_losses = {}

    def rank_cases() -> None:
        model.eval()
        with torch.inference_mode():
            model.cache_item_vectors()
            model.answer_ranks(HeldOutCases(sequences, sequences.valid, MAX_LEN)[np.arange(CASES)])
            model.on_validation_epoch_end()

    def store() -> None:
        checkpoint = {"state_dict": model.state_dict(), "optimizer_states": [optimizer.state_dict()]}
        gather_tables(checkpoint, model, Path(folder))
        if rank == 0:
            torch.save(checkpoint, Path(folder) / "last.ckpt")

    for name, work in (("steps", train), ("ranking", rank_cases), ("checkpoint", store)):
        watched(name, work)
    pipe.send(figures)
    processes.agreed(None)


def measured(count: int, folder: str, n_items: int) -> dict[str, float]:
    """The largest figure of any process."""
    context = multiprocessing.get_context("spawn")
    store = TCPStore("127.0.0.1", 0, count + 1, is_master=True, wait_for_workers=False)
    pipes = [context.Pipe(duplex=False) for _ in range(count)]
    started = [
        context.Process(target=worker, args=(rank, count, store.port, folder, n_items, sender))
        for rank, (_, sender) in enumerate(pipes)
    ]
    for process in started:
        process.start()
    figures = [receiver.recv() for receiver, _ in pipes]
    for process in started:
        process.join()
    return {name: round(max(one[name] for one in figures), 2) for name in figures[0]}


def main(n_items: str = "1000000") -> None:
    results: dict[str, Any] = {
        **about(),
        "processor": "AMD EPYC, family 26, two cores, beside other work",
        "items": int(n_items),
    }
    with tempfile.TemporaryDirectory(dir=ROOT / "outputs" if (ROOT / "outputs").is_dir() else None) as folder:
        write_sequences(Path(folder), int(n_items))
        for count in COUNTS:
            results[f"{count} processes"] = measured(count, folder, int(n_items))
            print(count, results[f"{count} processes"], flush=True)
    write("shards", results)


if __name__ == "__main__":
    main(*sys.argv[1:])
