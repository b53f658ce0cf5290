"""Two processes beside one: whether a run is the same, and how long its steps and its ranking take.

``python benchmarks/processes.py equal [METHOD...] [key=value]`` trains each method (all that train, if none is named) by one
process and by two, stages included, without dropout, on the tests' small world, and goes on from either by the other number.
``python benchmarks/processes.py speed [key=value]`` takes the same
steps, and ranks the same cases, by one process and by two in turns, one thread each; beside wall-clock time it reports the
processor time of a process, which other work does not change. Figures go to benchmarks/results/processes-equal.json and
processes-speed.json.
"""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import polars as pl
import torch
from measuring import ROOT, about, write
from steps import parts
from torch.distributed import TCPStore

from sage_pl import processes

sys.path.insert(0, str(ROOT))
from tests.campaign.bench import SETTINGS, write_world
from tests.e2e import commands
from tests.semantic.scft.tiny import write_llama

TOGETHER = ["trainer.devices=2", "trainer.strategy=ddp"]
ALONE = ["trainer.devices=1", "trainer.strategy=auto"]
EQUAL = ["dropout=0", "products=float32", "trainer.accelerator=cpu", "floors=false"]
FIRST_STEP = "+callbacks.first_step={_target_: first_step.FirstStep, folder: '${run_dir}'}"
FUSED = ("dropout", "adapter.dropout")
SMALL = {  # of parts with a dropout of their own, and what 40 items need
    "pad": [
        f"{part}.{key}=0" for part in ("item_encoder.experts.aligned", "stages.align.item_encoder") for key in FUSED
    ],
    "smem": [f"item_encoder.experts.aligned.{key}=0" for key in FUSED],
    "tiger": ["decoder.network.dropout=0", "sequence_encoder.dropout=0", "steps.tokens.quantiser.codes=6"],
    "semantic_convergence": ["steps.tokens.quantiser.codes=6"],
    "semantic_convergence_llm": [
        *("decoder.dropout=0", "decoder.offline=true", "decoder.rank=2", "steps.tokens.quantiser.codes=6", "dim=16"),
        *("stages.plain.dim=8", "stages.plain.data.max_len=8", "stages.plain.data.batch_size=16"),
        *("stages.plain.trainer.max_epochs=2", "loss.newest=2", "loss.max_words=6", "loss.rows=4"),
    ],
    "sam": ["sequence_encoder.extractor.dropout=0"],
    "whitened_text": ["steps.whiten.dim=6"],
}
ROUNDS, STEPS, CASES = 1, 8, 2


def run(folder: Path, *overrides: str) -> list[dict[str, str]]:
    """Train by ``train.py``; the rows of its table."""
    done = commands.call_loaded("train.py", *overrides, f"hydra.run.dir={folder}")
    if done.returncode:
        sys.exit(f"{' '.join(overrides)}: {done.stdout[-1500:]}")
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
    """Differences between a run of one process and one of two, each with stages and artifacts of its own: losses of the first
    step and of two epochs, validations, tests; losses and tests after a third epoch that the other number of processes
    trains; and whether both numbers test one checkpoint alike, to the last digit."""
    settings = [f"method={method}", *overrides, *EQUAL, *SMALL.get(method, [])]
    last = {name: f"resume={folder / name / 'checkpoints' / 'last.ckpt'}" for name in ("one", "two")}
    numbers = {"one": ALONE, "two": TOGETHER}
    first = [FIRST_STEP, "trainer.max_epochs=2"]
    one, two = (
        run(folder / name, *settings, *first, *number, f"paths.artifacts={folder / 'cache' / name}")
        for name, number in numbers.items()
    )
    if not any(row.get("train/loss") for row in one):
        return {**tests_of(folder, method), "trained": "nothing beyond its stages"}
    run(folder / "again", last["two"], *ALONE)
    one_two = run(folder / "one_two", last["one"], "trainer.max_epochs=3", *TOGETHER)
    two_one = run(folder / "two_one", last["two"], "trainer.max_epochs=3", *ALONE)
    steps = [json.loads((folder / name / "first_step.json").read_text()) for name in numbers]
    return {
        "first step, relative": apart(*steps, relative=True),
        **{
            f"loss of epoch {epoch}, relative": apart(
                *(values(rows, epoch, "train/loss") for rows in both), relative=True
            )
            for epoch, both in ((0, (one, two)), (1, (one, two)), (2, (one_two, two_one)))
        },
        "validation": apart(*(values(rows, 0, "val/full/ndcg@") for rows in (one, two))),
        **tests_of(folder, method),
    }


def tests_of(folder: Path, method: str) -> dict[str, Any]:
    """Differences of NDCG in the tests, and whether ranks and lists of one checkpoint are equal."""
    tests = {file.parent.name: json.loads(file.read_text()) for file in folder.glob("*/metrics.json")}
    names = [name for name in tests["one"] if name.startswith("test/full/ndcg@")]
    pairs = {"test": ("one", "two"), "test, resumed": ("one_two", "two_one")}
    results: dict[str, Any] = {
        name: apart(*({k: tests[one][k] for k in names} for one in pair))
        for name, pair in pairs.items()
        if pair[0] in tests
    }
    if "again" in tests:
        ranks, lists = (
            [folder / name / file for name in ("two", "again")] for file in ("ranks.parquet", "recommended.npy")
        )
        results["one checkpoint, tested by both"] = (
            tests["two"] == tests["again"]
            and pl.read_parquet(ranks[0]).equals(pl.read_parquet(ranks[1]))
            and np.array_equal(*map(np.load, lists))
        )
    return results


def every_method() -> list[str]:
    """Those with something to train, by name."""
    files = sorted((ROOT / "conf" / "method").glob("*.yaml"))
    return [file.stem for file in files if "/objective: none" not in file.read_text()]


def equal(methods: list[str], folder: Path, overrides: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """:func:`compared` of each method, on the small world unless ``overrides`` name a data set."""
    if not any(override.startswith("dataset=") for override in overrides):
        write_world(folder / "world")
        overrides = ["dataset=folder", f"dataset.path={folder / 'world'}", *SETTINGS, *overrides]
    os.environ |= {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "SAGE_PL_PACKAGES": "first_step"}
    llama = write_llama(folder / "llama")
    for method in methods or every_method():
        more = [f"decoder.model={llama}"] if method == "semantic_convergence_llm" else []
        yield method, compared(method, folder / method, [*overrides, f"paths.outputs={folder / 'outputs'}", *more])


def worker(rank: int, count: int, port: int, overrides: list[str], pipe: Any) -> None:
    """One of ``count`` processes: medians of a step, sums over the ranked cases; wall-clock and processor seconds."""
    torch.set_num_threads(1)
    if count > 1:
        processes.join(rank, count, TCPStore("127.0.0.1", port, count + 1, is_master=False))
    datamodule, model, _ = parts(overrides)
    optimizer = model.configure_optimizers()
    loader = datamodule.train_dataloader()

    def train(users: Any) -> None:
        optimizer.zero_grad()
        model.training_step(loader.dataset[users], 0).backward()
        model.on_after_backward()
        optimizer.step()

    steps = [timed(train, users) for users in islice(loader.sampler, STEPS + 2)][2:]
    model.eval()
    cases = list(islice(datamodule.held_out("valid"), CASES))[rank::count]
    with torch.inference_mode():
        model.cache_item_vectors()
        ranked = [timed(model.answer_ranks, batch) for batch in cases]
    pipe.send({"step": list(map(median, zip(*steps, strict=True))), "rank": list(map(sum, zip(*ranked, strict=True)))})
    processes.agreed(None)


def timed(work: Callable[[Any], object], argument: Any) -> tuple[float, float]:
    """Wall-clock and processor seconds."""
    wall, own = time.perf_counter(), time.process_time()
    work(argument)
    return time.perf_counter() - wall, time.process_time() - own


def taken(count: int, overrides: list[str]) -> dict[str, list[float]]:
    """The slowest process's figures."""
    context = multiprocessing.get_context("spawn")
    store = TCPStore("127.0.0.1", 0, count + 1, is_master=True, wait_for_workers=False)
    pipes = [context.Pipe(duplex=False) for _ in range(count)]
    started = [
        context.Process(target=worker, args=(rank, count, store.port, overrides, sender))
        for rank, (_, sender) in enumerate(pipes)
    ]
    for process in started:
        process.start()
    found = [receiver.recv() for receiver, _ in pipes]
    for process in started:
        process.join()
    return {name: list(map(max, zip(*(one[name] for one in found), strict=True))) for name in found[0]}


def speed(overrides: list[str]) -> dict[str, Any]:
    """Medians over the rounds, and how many times as fast two processes are."""
    rounds = [[taken(count, overrides) for count in (1, 2)] for _ in range(ROUNDS)]
    results: dict[str, Any] = {}
    for name in ("step", "rank"):
        for number, clock in enumerate(("wall", "processor")):
            one, two = (median(turn[which][name][number] for turn in rounds) for which in (0, 1))
            results[f"{name}, {clock}"] = {"one, s": one, "two, s": two, "times": one / two}
    return results


def main(mode: str, *arguments: str) -> None:
    overrides = [argument for argument in arguments if "=" in argument]
    named = [entry for entry in overrides if not entry.startswith(("paths.", "dataset.path"))]
    file = ROOT / "benchmarks" / "results" / f"processes-{mode}.json"
    before = {**(json.loads(file.read_text()) if file.is_file() else {}), **about()}
    if mode == "speed":
        write(file.stem, {**before, " ".join(named): speed(overrides)})
        return
    methods = [argument for argument in arguments if "=" not in argument]
    with tempfile.TemporaryDirectory() as folder:
        for method, result in equal(methods, Path(folder), overrides):
            print(method, json.dumps(result, indent=2), flush=True)
            before[method] = result
            write(file.stem, before)


if __name__ == "__main__":
    main(*sys.argv[1:])
