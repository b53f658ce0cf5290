"""Time and memory of exact full ranking: 22,363 users x 12,101 items x 64, the size of Beauty.

``python benchmarks/ranking.py``. Ranks of held-out answers among all items, and the ten best items with seen ones left out;
memory beyond the inputs. ``fused``: the same ranks with ``scorer=fusion`` on random text of width 384 and 30 transitions an
item, where seen items are left out and where they recur; its time is also a ratio to the ranks without it. ``learned``: the
same with ``scorer=learned_fusion``.
Writes benchmarks/results/ranking.json.
"""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from measuring import about, median_seconds, unit, write
from memory import Watch, resident

from sage_pl.evaluation.ranks import full_ranks, top_k
from sage_pl.evaluation.rows import products, row_ranks
from sage_pl.nn.scorers.fused import Weights
from sage_pl.nn.scorers.fusion import Fusion
from sage_pl.nn.scorers.learned_fusion import LearnedFusion

USERS, ITEMS, DIM, HISTORY = 22_363, 12_101, 64, 30
TEXT, FOLLOWERS = 384, 30


def measured(work: Callable[[], object]) -> dict[str, float]:
    gc.collect()
    before = resident()["own MB"]
    with Watch() as watch:
        seconds = median_seconds(work, 3)
    return {"s": seconds, "extra MB": watch.peak["own MB"] - before}


def artifacts(folder: Path) -> None:
    """Text, transitions and relations of random numbers."""
    generator = np.random.default_rng(0)
    np.save(folder / "table.npy", generator.normal(size=(ITEMS + 2, TEXT)).astype(np.float32))
    arrays = {
        "offsets": np.arange(ITEMS + 3) * FOLLOWERS,
        "items": generator.integers(1, ITEMS + 1, (ITEMS + 2) * FOLLOWERS).astype(np.int32),
        "values": generator.random((ITEMS + 2) * FOLLOWERS).astype(np.float32),
        "counts": generator.integers(0, 20, ITEMS + 2),
    }
    for name, array in arrays.items():
        for prefix in ("", "after_", "before_", "second_", "together_"):
            np.save(folder / f"{prefix}{name}.npy", array)


def fusion(folder: str, seen: Literal["keep", "mask"]) -> Fusion:
    scorer = Fusion(ITEMS, folder, folder, seen)
    scorer.weights.copy_(torch.tensor(Weights(0.5, 0.3, 1.0, 0.5, 1.0, 3.0)))
    return scorer


def learned(folder: str, seen: Literal["keep", "mask"]) -> LearnedFusion:
    scorer = LearnedFusion(ITEMS, folder, folder, folder, seen)
    scorer.weights.copy_(torch.rand(scorer.weights.shape))
    return scorer


def fused_ranks(
    scorer: Fusion | LearnedFusion,
    states: torch.Tensor,
    table: torch.Tensor,
    answers: torch.Tensor,
    items: torch.Tensor,
) -> None:
    blocks = ((rows, scorer(scores, items[rows])) for rows, scores in products(states, table))
    row_ranks(blocks, answers, None if scorer.recurs else items)


def main() -> None:
    torch.manual_seed(0)
    states, table = torch.randn(USERS, DIM), torch.randn(ITEMS + 2, DIM)
    answers, seen = torch.randint(1, ITEMS + 1, (USERS,)), torch.randint(1, ITEMS + 1, (USERS, HISTORY))
    results = {
        "ranks": measured(lambda: full_ranks(states, table, answers)),
        "ranks without seen items": measured(lambda: full_ranks(states, table, answers, seen)),
        "top 10 without seen items": measured(lambda: top_k(states, table, 10, seen)),
    }
    with tempfile.TemporaryDirectory() as folder:
        artifacts(Path(folder))
        for scorer, name, base in (
            (fusion(folder, "mask"), "fused without seen items", "ranks without seen items"),
            (fusion(folder, "keep"), "fused", "ranks"),
            (learned(folder, "mask"), "learned without seen items", "ranks without seen items"),
            (learned(folder, "keep"), "learned", "ranks"),
        ):
            with torch.inference_mode():
                found = measured(lambda scorer=scorer: fused_ranks(scorer, states, table, answers, seen))  # type: ignore[misc]
            results[name] = {**found, "ratio": found["s"] / results[base]["s"]}
    for name, found in results.items():
        print(f"{name:26}", "  ".join(f"{label} {value:.3g}" for label, value in found.items()))
    told = {**about(), "1 G, s": unit()}
    print(told)
    write("ranking", {**told, **results})


if __name__ == "__main__":
    main()
