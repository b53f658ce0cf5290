"""The cost of a training step against users, length, items and neighbours, one of them varied at a time.

``python benchmarks/curves.py`` measures, writes benchmarks/results/curves.json and draws docs/figures/cost.svg from it;
``python benchmarks/curves.py draw`` draws alone. Sequences are random and all of one length, every item is a candidate.
*SAGE* has all four losses over frozen text of width 384; *plain* is SASRec with softmax, *sampled* SASRec with sampled
softmax, sparse gradients and RowAdam.
"""

from __future__ import annotations

import functools
import itertools
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from measuring import ROOT, about, median_seconds, unit, write

from sage_pl.data.loader import TrainingUsers, load_sequences
from sage_pl.data.neighbours import Neighbours
from sage_pl.data.targets import NextItem
from sage_pl.hardware import keep_freed_memory
from sage_pl.nn.backbones.sasrec import SASRec
from sage_pl.nn.item_encoders.dual import DualEncoder
from sage_pl.nn.item_encoders.id import IdEncoder
from sage_pl.nn.losses.alignment import Alignment
from sage_pl.nn.losses.base import LossTerm
from sage_pl.nn.losses.distillation import UserDistillation
from sage_pl.nn.losses.prototype import Prototype
from sage_pl.nn.modules.sequential import SequentialRecommender
from sage_pl.nn.objectives.sampled_softmax import SampledSoftmax
from sage_pl.nn.objectives.softmax import Softmax
from sage_pl.nn.sequence_encoders.dual import DualView
from sage_pl.nn.sequence_encoders.single import SingleView
from sage_pl.training.optimizers.row_adam import RowAdam

RESULT, FIGURE = ROOT / "benchmarks" / "results" / "curves.json", ROOT / "docs" / "figures" / "cost.svg"
USERS, DIM, TEXT, CLUSTERS, MOST_NEIGHBOURS = 2_000, 64, 384, 20, 40
BASE = {"users": 128, "length": 20, "items": 10_000, "neighbours": 10}
VARIED = {
    "users": (32, 64, 128, 256, 512),
    "length": (5, 10, 20, 40, 80, 160),
    "items": (1_000, 3_000, 10_000, 30_000, 100_000),
    "neighbours": (0, 5, 10, 20, 40),
}
METHODS = {"users": ("SAGE", "plain"), "length": ("SAGE", "plain"), "neighbours": ("SAGE",)}
METHODS["items"] = ("SAGE", "plain", "sampled")


def write_artifacts(folder: Path, length: int, items: int) -> str:
    """All that SAGE reads: sequences of ``length`` + 1 training items, text, clusters, similar users; at random."""
    random, events = np.random.default_rng(0), length + 3
    user = np.arange(1, USERS + 1)
    memberships = random.dirichlet(np.ones(CLUSTERS), items + 2)
    arrays = {
        "values": random.integers(1, items + 1, USERS * events, dtype=np.int32),
        "offsets": np.concatenate([[0], np.arange(USERS + 1) * events]),
        "train_end": np.concatenate([[0], np.full(USERS, events - 2)]),
        "table": random.standard_normal((items + 2, TEXT), dtype=np.float32),
        "memberships": memberships.astype(np.float32),
        "centres": random.standard_normal((CLUSTERS, DIM), dtype=np.float32),
        "neighbours": random.integers(1, USERS + 1, (USERS + 1, MOST_NEIGHBOURS), dtype=np.int32),
    }
    for split, at in (("valid", events - 2), ("test", events - 1)):
        arrays |= {f"{split}_user": user, f"{split}_at": np.full(USERS, at)}
    folder.mkdir()
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    pl.DataFrame({"item": np.arange(1, items + 1)}).write_parquet(folder / "items.parquet")
    (folder / "manifest.json").write_text(json.dumps({"key": f"random-{length}-{items}"}))
    return str(folder)


def recommender(method: str, folder: str, length: int, items: int, neighbours: int) -> SequentialRecommender:
    targets, backbone = NextItem(), SASRec(DIM, length)
    adam = functools.partial(torch.optim.Adam, lr=0.001, fused=True)
    if method == "sampled":
        rows = functools.partial(RowAdam, lr=0.001)
        encoder = IdEncoder(items, DIM, sparse=True)
        return SequentialRecommender(
            encoder, SingleView(backbone), targets, SampledSoftmax(folder, "all"), optimizer=rows
        )
    if method == "plain":
        encoder = IdEncoder(items, DIM)
        return SequentialRecommender(encoder, SingleView(backbone), targets, Softmax(folder, "all"), optimizer=adam)
    terms: dict[str, LossTerm] = {"alignment": Alignment(0.1), "prototype": Prototype(0.05, folder)}
    if neighbours:
        terms["distillation"] = UserDistillation(0.1)
    dual = DualEncoder(items, folder, None, DIM)
    return SequentialRecommender(dual, DualView(backbone), targets, Softmax(folder, "all"), terms, adam)


def step_seconds(method: str, folder: str, users: int, length: int, items: int, neighbours: int) -> float:
    torch.manual_seed(0)
    extras = [Neighbours(folder, neighbours)] if method == "SAGE" and neighbours else []
    data = TrainingUsers(load_sequences(folder), length, extras)
    model = recommender(method, folder, length, items, neighbours)
    optimizer, random = model.configure_optimizers(), np.random.default_rng(1)

    def step() -> None:
        loss = model.training_step(data[random.choice(USERS, users, replace=False) + 1], 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return median_seconds(step, 5)


def measure() -> dict[str, Any]:
    one = unit()
    curves: dict[str, dict[str, list[float]]] = {}
    made: dict[tuple[int, int], str] = {}
    with tempfile.TemporaryDirectory() as base:
        for name, values in VARIED.items():
            for method, value in itertools.product(METHODS[name], values):
                at = {**BASE, name: value}
                place = at["length"], at["items"]
                if place not in made:
                    made[place] = write_artifacts(Path(base) / f"{place}", *place)
                seconds = step_seconds(method, made[place], **at)
                curves.setdefault(name, {}).setdefault(method, []).append(seconds)
                print(f"{name:10} {value:>7,} {method:8} {1e3 * seconds:8.1f} ms {seconds / one:8.3f} G", flush=True)
    return {**about(), "1 G, s": one, "base": BASE, "varied": VARIED, **curves}


def draw(results: dict[str, Any]) -> None:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams |= {"svg.hashsalt": "cost", "svg.fonttype": "none", "font.size": 9}
    from matplotlib import pyplot, ticker

    figure, panels = pyplot.subplots(1, len(results["varied"]), figsize=(12, 2.8), sharey=True, layout="constrained")
    for panel, (name, values) in zip(panels, results["varied"].items(), strict=True):
        for method, seconds in results[name].items():
            panel.plot(values, [1e3 * second for second in seconds], "o-", markersize=3, label=method)
        panel.set(xlabel=name, yscale="log", xscale="linear" if name == "neighbours" else "log")
        panel.set_xticks(values, [f"{value:,}" for value in values])
        panel.minorticks_off()
        panel.axvline(results["base"][name], color="0.8", zorder=0)
        panel.legend(frameon=False)
    panels[0].set_ylabel("ms per step")
    panels[0].yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    panels[0].yaxis.set_major_formatter("{x:g}")
    FIGURE.parent.mkdir(exist_ok=True)
    figure.savefig(FIGURE, metadata={"Date": None})


def main() -> None:
    keep_freed_memory()
    write("curves", measure())
    draw(json.loads(RESULT.read_text()))


if __name__ == "__main__":
    if sys.argv[1:] == ["draw"]:
        draw(json.loads(RESULT.read_text()))
    else:
        main()
