"""Time and memory of exact full ranking: 22,363 users x 12,101 items x 64, the size of Beauty.

``python benchmarks/ranking.py``. Ranks of held-out answers among all items, and the ten best items with seen ones left out.
"""

from __future__ import annotations

import json
import resource
from pathlib import Path

import torch
from steps import median_seconds, unit

from sage_pl.evaluation.ranks import full_ranks, top_k

USERS, ITEMS, DIM, HISTORY = 22_363, 12_101, 64, 30


def main() -> None:
    torch.manual_seed(0)
    states, table = torch.randn(USERS, DIM), torch.randn(ITEMS + 2, DIM)
    answers, seen = torch.randint(1, ITEMS + 1, (USERS,)), torch.randint(1, ITEMS + 1, (USERS, HISTORY))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    results = {
        "ranks, s": median_seconds(lambda: full_ranks(states, table, answers), 3),
        "ranks without seen items, s": median_seconds(lambda: full_ranks(states, table, answers, seen), 3),
        "top 10 without seen items, s": median_seconds(lambda: top_k(states, table, 10, seen), 3),
        "extra memory, MB": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024,
        "1 G, s": unit(),
        "threads": torch.get_num_threads(),
    }
    for name, value in results.items():
        print(f"{name:30} {value:.3g}")
    out = Path(__file__).parent / "results" / "ranking.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps({"torch": torch.__version__, **results}, indent=2))


if __name__ == "__main__":
    main()
