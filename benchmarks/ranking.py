"""Time and memory of exact full ranking: 22,363 users x 12,101 items x 64, the size of Beauty.

``python benchmarks/ranking.py``. Ranks of held-out answers among all items, and the ten best items with seen ones left out;
memory beyond the inputs. Writes benchmarks/results/ranking.json.
"""

from __future__ import annotations

import gc
from collections.abc import Callable

import torch
from measuring import about, median_seconds, unit, write
from memory import Watch, resident

from sage_pl.evaluation.ranks import full_ranks, top_k

USERS, ITEMS, DIM, HISTORY = 22_363, 12_101, 64, 30


def measured(work: Callable[[], object]) -> dict[str, float]:
    gc.collect()
    before = resident()["own MB"]
    with Watch() as watch:
        seconds = median_seconds(work, 3)
    return {"s": seconds, "extra MB": watch.peak["own MB"] - before}


def main() -> None:
    torch.manual_seed(0)
    states, table = torch.randn(USERS, DIM), torch.randn(ITEMS + 2, DIM)
    answers, seen = torch.randint(1, ITEMS + 1, (USERS,)), torch.randint(1, ITEMS + 1, (USERS, HISTORY))
    results = {
        "ranks": measured(lambda: full_ranks(states, table, answers)),
        "ranks without seen items": measured(lambda: full_ranks(states, table, answers, seen)),
        "top 10 without seen items": measured(lambda: top_k(states, table, 10, seen)),
    }
    for name, found in results.items():
        print(f"{name:26}", "  ".join(f"{label} {value:.3g}" for label, value in found.items()))
    told = {**about(), "1 G, s": unit()}
    print(told)
    write("ranking", {**told, **results})


if __name__ == "__main__":
    main()
