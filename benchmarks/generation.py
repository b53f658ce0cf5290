"""Recommending by generating: time per user, how many of the likeliest items beams find, bytes per item, beside inner products.

``python benchmarks/generation.py CHECKPOINT [USERS]``, a ``best.ckpt`` of method=semantic_convergence or tiger. Times are of
the search alone, after the history was read: for one user at a time (median and 95th percentile) and in batches. *Inner
products* are the same states against a table of as many vectors of the same width.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from sage_pl.evaluation.ranks import top_k
from sage_pl.nn.decoders.search import beam_search, best, occurs
from sage_pl.runs.checkpoint import open_checkpoint, prepared, trained
from sage_pl.types import Memory, TopK

WIDTHS, KS, BATCH = (10, 20, 50, 100, 200), (10, 20), 64


def latency(work: Callable[[Memory], Any], memory: Memory) -> dict[str, float]:
    """Milliseconds per user, alone and in batches."""
    alone, times = [Memory(*(x[row : row + 1] for x in memory)) for row in range(min(100, len(memory.vectors)))], []
    work(alone[0])
    for one in alone:
        start = time.perf_counter()
        work(one)
        times.append(1000 * (time.perf_counter() - start))
    start, count = time.perf_counter(), len(memory.vectors)
    for row in range(0, count, BATCH):
        work(Memory(*(x[row : row + BATCH] for x in memory)))
    together = 1000 * (time.perf_counter() - start) / count
    return {
        "one user, median ms": statistics.median(times),
        "one user, 95 % ms": statistics.quantiles(times, n=20)[-1],
        f"per user of {BATCH}, ms": together,
    }


def main(checkpoint: str, users: int = 512) -> None:
    stored = open_checkpoint(checkpoint)
    config = prepared(stored, {})
    datamodule, model, _ = trained(config, stored)
    decoder = model.decoder
    batches = [batch["items"] for batch in datamodule.test_dataloader()]
    items = torch.cat([torch.nn.functional.pad(b, (datamodule.max_len - b.shape[1], 0)) for b in batches])
    items = items[torch.randperm(len(items), generator=torch.Generator().manual_seed(0))[:users]]
    memory, ids = model.memory(items), torch.arange(1, decoder.n_items + 1)[None]
    exact = best(TopK(ids, decoder.all_log_probs(memory)), max(KS))
    results: dict[str, Any] = {}
    for width in WIDTHS:
        found = beam_search(decoder, memory, width)
        recall = {f"recall@{k}": _recall(exact.ids[:, :k], best(found, k).ids) for k in KS}
        work = lambda m, w=width: best(beam_search(decoder, m, w), 10)  # noqa: E731
        results[f"{width} beams"] = {**recall, **latency(work, memory)}
    results["every item"] = latency(lambda m: best(TopK(ids, decoder.all_log_probs(m)), 10), memory)
    table = torch.randn(decoder.n_items + 2, decoder.network.dim)
    results["inner products"] = latency(lambda m: top_k(m.vectors[:, -1], table, 10), memory)
    codes = Path(config.artifacts.tokens) / "codes.npy"
    tree = sum(buffer.nbytes for buffer in decoder.tree.buffers())
    results["bytes per item"] = {
        "codes": len(decoder.codes.sizes) * (1 if max(decoder.codes.sizes) <= 256 else 2),
        "codes.npy": codes.stat().st_size / decoder.n_items,
        "tree in memory": tree / decoder.n_items,
        "vector": 4 * decoder.network.dim,
    }
    results["bytes of all code vectors and the decoder"] = sum(4 * p.numel() for p in decoder.parameters())
    results["about"] = {"items": decoder.n_items, "sizes": list(decoder.codes.sizes), "users": len(items)}
    results["about"] |= {"threads": torch.get_num_threads(), "torch": torch.__version__}
    print(OmegaConf.to_yaml(OmegaConf.create(json.loads(json.dumps(results)))))
    out = Path(__file__).parent / "results" / f"generation-{Path(checkpoint).parent.parent.name}.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(results, indent=2))


def _recall(wanted: torch.Tensor, found: torch.Tensor) -> float:
    return occurs(wanted, found)[wanted > 0].float().mean().item()


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
