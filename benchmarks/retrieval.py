"""Lists by an index beside exact ones: recall, latency, memory and time to build, by the number of items.

``python benchmarks/retrieval.py CHECKPOINT SIZE [KIND ...]``; a ``best.ckpt`` of a method that ranks by inner products, and the
number of items (12000, 100000, 1000000). States are those of its users' histories. Beyond the data set's own items, each
further one is a random item with normal noise of 0.3 standard deviations of the table, so that lengths and neighbourhoods are
those of trained vectors. Recall@10 is against exact lists, of 1,000 users without masking; latency is that of one user's ten
items by a given state on the threads of OMP_NUM_THREADS, a median of 3 times 50; memory is that of the index beside the table.
Writes benchmarks/results/retrieval-SIZE.json, where kinds that were measured before stay; ``RETRIEVAL_INDEXES`` names a folder
that keeps the indexes, and one that lies there is searched, not built again.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch
from measuring import ROOT, about, median_seconds, write

from sage_pl.artifacts.store import Artifact
from sage_pl.evaluation.ranks import top_k
from sage_pl.runs.checkpoint import open_checkpoint, prepared, trained
from sage_pl.serving import Histories
from sage_pl.serving.retrieval import KINDS, ItemIndex

BUILDERS = 2  # threads that build an index
K, USERS, CALLS, REPEATS, NOISE = 10, 1_000, 50, 3, 0.3


def vectors_of(file: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Item vectors [R, E] and states of users [U, E]."""
    checkpoint = open_checkpoint(file)
    config = prepared(checkpoint, {})
    model = trained(config, checkpoint).model
    histories = Histories.of(Artifact.at(config.artifacts.sequences))
    rows = np.random.default_rng(0).permutation(len(histories))[:USERS]
    with torch.inference_mode():
        table = model.ranking_table()[:].float()
        states = model.states(torch.from_numpy(histories.padded(rows).astype(np.int64)))
    return table.clone(), states.clone()


def of_size(table: torch.Tensor, n_items: int) -> torch.Tensor:
    """The table with as many items."""
    generator = torch.Generator().manual_seed(0)
    items = table[1:-1]
    rows = torch.randint(len(items), (max(0, n_items - len(items)),), generator=generator)
    noise = NOISE * items.std(0) * torch.randn(len(rows), items.shape[1], generator=generator)
    return torch.cat([table[:1], items[:n_items], items[rows] + noise, table[-1:]])


def measured(kind: str, table: torch.Tensor, states: torch.Tensor, exact: torch.Tensor) -> dict[str, Any]:
    """Figures of one kind of retrieval."""

    def one(find: Callable[[torch.Tensor], Any]) -> dict[str, float]:
        busy = time.process_time()
        seconds = median_seconds(lambda: [find(states[row : row + 1]) for row in range(CALLS)], REPEATS) / CALLS
        processor = (time.process_time() - busy) / (CALLS * (REPEATS + 1))
        return {"ms": 1e3 * seconds, "processor ms": 1e3 * processor}

    if kind == "exact":
        return {**one(lambda state: top_k(state, table, K)), "recall": 1.0, "MB": 0.0, "build s": 0.0}
    with tempfile.TemporaryDirectory() as place:
        index, size, built = at_hand(Path(os.environ.get("RETRIEVAL_INDEXES", place)), kind, table)
    faiss.omp_set_num_threads(torch.get_num_threads())
    found = index.best_items(states, K).ids
    recall = (found[:, :, None] == exact[:, None, :]).any(2).float().mean().item()
    times = one(lambda state: index.best_items(state, K))
    return {**times, "recall": recall, "MB": size} | ({} if built is None else {"build s": built})


def at_hand(folder: Path, kind: str, table: torch.Tensor) -> tuple[ItemIndex, float, float | None]:
    """An index of the table, its MB, and the seconds to build it, None for one that lies in the folder."""
    file = folder / f"{kind}-{len(table) - 2}.faiss"
    if file.is_file():
        return ItemIndex.read(file, table, kind), file.stat().st_size / 1e6, None
    faiss.omp_set_num_threads(BUILDERS)
    start = time.perf_counter()
    index = ItemIndex(table, kind)
    seconds = time.perf_counter() - start
    index.write(file)
    return index, file.stat().st_size / 1e6, seconds


def main() -> None:
    file, size, *kinds = sys.argv[1:]
    table, states = vectors_of(file)
    table = of_size(table, int(size))
    exact = top_k(states, table, K).ids
    earlier = ROOT / "benchmarks" / "results" / f"retrieval-{size}.json"
    results = json.loads(earlier.read_text())["kinds"] if earlier.is_file() and kinds else {}
    for kind in kinds or KINDS:
        results[kind] = results.get(kind, {}) | measured(kind, table, states, exact)
        print(kind, {name: round(value, 3) for name, value in results[kind].items()}, flush=True)
        write(f"retrieval-{size}", {"items": len(table) - 2, "width": table.shape[1], "kinds": results, **about()})


if __name__ == "__main__":
    main()
