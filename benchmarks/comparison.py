"""Time of a comparison: 10 runs of 30,000 test users, all groups, both protocols, 2,000 resamples, from disk to files.

``python benchmarks/comparison.py``. The same intervals and tests by loops over groups and resamples are timed on a share of
the resamples and scaled up.
"""

from __future__ import annotations

import json
import logging
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
import yaml
from measuring import unit
from omegaconf import OmegaConf

from sage_pl.comparison.compare import compare_runs
from sage_pl.comparison.statistics import gains
from sage_pl.evaluation.groups import members

USERS, ITEMS, METHODS, SEEDS, RESAMPLES, SHARE = 30_000, 20_000, 5, 2, 2_000, 50
ROOT = Path(__file__).parent.parent


def main() -> None:
    logging.disable(logging.WARNING)
    generator = np.random.default_rng(0)
    config = OmegaConf.load(ROOT / "conf" / "compare.yaml")
    config.pop("hydra")
    with tempfile.TemporaryDirectory() as place:
        facts = write_runs(Path(place), generator)
        given = {"runs": f"{place}/*", "baseline": "method0", "folder": f"{place}/out", "resamples": RESAMPLES}
        start, worked = time.perf_counter(), time.process_time()
        compare_runs(OmegaConf.to_container(OmegaConf.merge(config, given), resolve=True))  # type: ignore[arg-type]
        seconds, work = time.perf_counter() - start, time.process_time() - worked
    values = np.stack([gains(ranks(generator, 0.1), "ndcg@10") for _ in range(METHODS + 1)])
    groups = list(members(facts).values())
    worked = time.process_time()
    by_loops(values, groups, generator, RESAMPLES // SHARE)
    protocols, metrics = 2, len(config.metrics)
    results = {
        "comparison, s": seconds,
        "comparison, processor s": work,
        "by loops, processor s": (time.process_time() - worked) * SHARE * protocols * metrics,
        "groups": len(groups) + 1,
        "memory, MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "1 G, s": unit(),
    }
    for name, value in results.items():
        print(f"{name:24} {value:.3g}")
    out = Path(__file__).parent / "results" / "comparison.json"
    out.write_text(json.dumps({"numpy": np.__version__, **results}, indent=2))


def write_runs(place: Path, generator: np.random.Generator) -> pl.DataFrame:
    """Folders of finished runs whose ranks are drawn; returns what their groups follow from."""
    counts, history = generator.geometric(0.05, USERS) - 1, generator.geometric(0.12, USERS)
    facts = pl.DataFrame(
        {
            "train_count": counts,
            "user_count": counts + 1,
            "history": history,
            **{name: generator.random(USERS) < 0.4 for name in ("repeat", "own_day", "item_head", "user_short")},
        }
    )
    cases = pl.DataFrame({"user": np.arange(1, USERS + 1), "answer": generator.integers(1, ITEMS, USERS)})
    for method, seed in ((m, s) for m in range(METHODS) for s in range(SEEDS)):
        folder = place / f"tea-method{method}-seed{seed}"
        folder.mkdir(parents=True)
        own = {"full": ranks(generator, 0.1), "sampled100": ranks(generator, 0.5)}
        floor = {f"popularity/{protocol}": ranks(generator, 0.05) for protocol in own}
        cases.hstack(facts).with_columns(**own, **floor).write_parquet(folder / "ranks.parquet")
        metrics = {f"test/{protocol}/ndcg@10": float(gains(r, "ndcg@10").mean()) for protocol, r in own.items()}
        metrics |= {f"test/{protocol}/count": USERS for protocol in own}
        (folder / "metrics.json").write_text(json.dumps(metrics))
        settings = {"sampled": 100, "seed": 0, "groups": {"ts_item": 4, "ts_user": 9}}
        keys = {"sequences": "/a/sequences/1", "candidates": "/a/candidates/1"}
        choices = {"method": f"method{method}", "backbone": "sasrec"}
        config = {
            "seed": seed,
            "choices": choices,
            "dataset": {"name": "tea"},
            "artifacts": keys,
            "evaluation": settings,
        }
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return facts


def ranks(generator: np.random.Generator, hits: float) -> np.ndarray:
    """Ranks of which a share is among the first ten."""
    found = generator.random(USERS) < hits
    return np.where(found, generator.integers(1, 11, USERS), generator.integers(11, ITEMS, USERS))


def by_loops(values: np.ndarray, groups: list[np.ndarray], generator: np.random.Generator, resamples: int) -> None:
    """One metric and protocol: means of resampled users, and sums under random signs, one after the other."""
    for group in groups:
        inside = np.flatnonzero(group)
        for row in values:
            for _ in range(resamples):
                row[generator.choice(inside, len(inside))].mean()
        for row in values[1:] - values[0]:
            for _ in range(resamples):
                row[inside] @ generator.choice((-1.0, 1.0), len(inside))


if __name__ == "__main__":
    main()
