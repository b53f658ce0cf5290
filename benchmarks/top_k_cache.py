"""Kept lists beside the model: times of a hit, of a live answer, of making all and one again; what is lost when they are old.

``python benchmarks/top_k_cache.py CHECKPOINT [USERS]``, a ``best.ckpt`` of any method. Times are medians on this machine, with
lists of all users; USERS (2,000) is for staleness alone.
*Staleness s*: lists of 100 made s events before the test answer (without what was seen since, where the evaluation masks
that) against the answer, and against the list made now; users with at least ten events before the answer.
Writes benchmarks/results/top_k_cache-<method>.json.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sage_pl.artifacts.store import Artifact
from sage_pl.data.sequences import Sequences
from sage_pl.runs.checkpoint import open_checkpoint, prepared, trained
from sage_pl.serving import CachedRecommender, Histories, Origin, TopKCache, model_name, refresh

ROOT = Path(__file__).parent.parent
K, EVENTS, STALE, BATCH, REFRESHED = 100, 10, (0, 1, 5), 128, 20


def times(work: Callable[[int], object], rows: Iterable[int], unit: float) -> dict[str, float]:
    """Median and 95th percentile of single calls."""
    taken = []
    for row in rows:
        start = time.perf_counter()
        work(row)
        taken.append(unit * (time.perf_counter() - start))
    return {"median": statistics.median(taken), "95 %": statistics.quantiles(taken, n=20)[-1]}


def mapped() -> int:
    """KiB of files in this process's memory (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssFile"))


def latencies(model: Any, histories: Histories, origin: Origin) -> dict[str, Any]:
    histories = dataclasses.replace(histories, values=histories.values.copy())  # to be changed below
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "x.top_k"
        counts = refresh(file, histories, origin, model, K, BATCH)
        before = mapped()
        cached = CachedRecommender(TopKCache(file))
        opened = mapped() - before
        live = CachedRecommender(None, origin, model)

        def ask(recommender: CachedRecommender) -> Callable[[int], object]:
            return lambda row: recommender.recommend(
                histories.names[row], histories[row], 10, int(histories.users[row])
            )

        def changed(row: int) -> None:
            """The last event of one user is another one."""
            end = histories.offsets[row + 1] - 1
            histories.values[end] = 1 + histories.values[end] % 100
            assert refresh(file, histories, origin, model, K, BATCH).new == 1

        order = np.random.default_rng(0).integers(0, len(histories), 1_000).tolist()
        return {
            "users": len(histories),
            "hit, us": times(ask(cached), order, 1e6),
            "live, ms": times(ask(live), order[:200], 1e3),
            f"making {K}, ms per user": 1e3 * counts.seconds / counts.new,
            "nothing changed, ms": times(
                lambda _: refresh(file, histories, origin, model, K, BATCH), order[:REFRESHED], 1e3
            ),
            "one user changed, ms": times(changed, order[:REFRESHED], 1e3),
            "bytes per user": file.stat().st_size / len(histories),
            "memory of files when opened, KiB": opened,
        }


def staleness(model: Any, data: Sequences, users: int, exclude_seen: bool) -> dict[str, Any]:
    """HR@10, NDCG@10 of old lists, and how many of the ten best of now they have."""
    chosen = np.flatnonzero(data.test.at >= EVENTS)
    chosen = np.random.default_rng(0).permutation(chosen)[:users]
    user, at, answer = data.test.user[chosen], data.test.at[chosen], data.test.answer[chosen]
    tops, results = {}, {}
    for age in STALE:
        lists = []
        for start in range(0, len(user), BATCH):
            rows = slice(start, start + BATCH)
            items = data.window(user[rows], at[rows] - age, int(at.max()))
            found = model.recommend(torch.from_numpy(items), K, exclude_seen, torch.from_numpy(np.asarray(user[rows])))
            lists.append(found.ids.numpy())
        kept = np.concatenate(lists)
        if exclude_seen and age:
            since = data.window(user, at, age)
            kept = np.array(
                [np.pad(row[~np.isin(row, seen)], (0, K))[:K] for row, seen in zip(kept, since, strict=True)]
            )
        tops[age] = kept[:, :10]
        place = (tops[age] == answer[:, None]).argmax(1)
        hit = (tops[age] == answer[:, None]).any(1)
        results[f"{age} events"] = {
            "HR@10": float(hit.mean()),
            "NDCG@10": float(np.where(hit, 1 / np.log2(place + 2), 0).mean()),
            "of the ten best of now": float(
                np.mean([len(set(a) & set(b)) / 10 for a, b in zip(tops[0], tops[age], strict=True)])
            ),
        }
    return {"users": len(user), **results}


def main(checkpoint: str, users: int = 2_000) -> None:
    stored = open_checkpoint(checkpoint)
    config = prepared(stored, {})
    _, model, _ = trained(config, stored)
    model.cache_item_vectors()
    artifact = Artifact.at(config.artifacts.sequences)
    histories, exclude_seen = Histories.of(artifact), config.evaluation.seen == "mask"
    results = {
        "dataset": config.dataset.name,
        "items": config.catalog.n_items,
        "threads": torch.get_num_threads(),
        **latencies(model, histories, Origin(model_name(stored.path, {}, config), exclude_seen)),
        "staleness": staleness(model, Sequences.load(artifact), users, exclude_seen),
    }
    print(json.dumps(results, indent=2))
    name = Path(checkpoint).parent.parent.name
    (ROOT / "benchmarks" / "results").mkdir(exist_ok=True)
    (ROOT / "benchmarks" / "results" / f"top_k_cache-{name}.json").write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:3]))
