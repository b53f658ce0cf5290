"""What an evaluation leaves behind: ``metrics.json`` and one row per test case in ``ranks.parquet``."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from sage_pl.data.sequences import Cases, IntArray, Sequences
from sage_pl.evaluation.groups import Groups
from sage_pl.evaluation.metrics import KS, summarise
from sage_pl.evaluation.popularity import popularity_ranks


def floor_metrics(
    sequences: Sequences,
    cases: Cases,
    groups: Groups,
    candidates: IntArray | None = None,
    ks: Sequence[int] = KS,
    mask_seen: bool = False,
) -> dict[str, float]:
    """The popularity floor under the same metric names: ``floor/popularity/full/ndcg@10/item_tail`` and so on."""
    ranks = popularity_ranks(sequences, cases, candidates, mask_seen)
    return {
        f"floor/popularity/{protocol}/{name}": value
        for protocol, values in ranks.items()
        for name, value in summarise(values, groups, ks).items()
    }


def write_results(
    folder: str | Path,
    metrics: Mapping[str, float],
    cases: Cases,
    ranks: Mapping[str, npt.NDArray[np.integer]],
    users: pl.DataFrame | None = None,
    items: pl.DataFrame | None = None,
) -> None:
    """Write both files, each whole or not at all.

    ``metrics.json`` is flat, with sorted keys and values rounded to 6 decimals. ``ranks.parquet`` has the columns
    ``user``, ``answer``, where known ``user_id`` and ``item_id``, and one rank per protocol, null where not evaluated.

    Args:
        folder: made if it is missing.
        metrics: name -> value.
        cases: the evaluated split's cases.
        ranks: protocol -> [K], 0 where a case was not evaluated.
        users: columns ``user`` and ``user_id``, as in the ``sequences`` artifact.
        items: columns ``item`` and ``item_id``, as in the ``sequences`` artifact.

    Raises:
        ValueError: a metric is not a finite number, or a protocol has not one rank per case; nothing is written.
    """
    if bad := [name for name, value in metrics.items() if not math.isfinite(value)]:
        raise ValueError(
            f"metrics are not finite: {', '.join(sorted(bad))}; the model has diverged, nothing was written"
        )
    frame = _ranks_frame(cases, ranks, users, items)
    text = json.dumps({name: round(float(value), 6) for name, value in metrics.items()}, indent=2, sort_keys=True)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".results.{os.getpid()}.tmp"
    try:
        frame.write_parquet(part)
        os.replace(part, folder / "ranks.parquet")
        part.write_text(text + "\n")
        os.replace(part, folder / "metrics.json")
    finally:
        part.unlink(missing_ok=True)


def _ranks_frame(
    cases: Cases,
    ranks: Mapping[str, npt.NDArray[np.integer]],
    users: pl.DataFrame | None,
    items: pl.DataFrame | None,
) -> pl.DataFrame:
    for protocol, values in ranks.items():
        if len(values) != len(cases):
            raise ValueError(f"{len(values)} ranks of protocol {protocol} for {len(cases)} cases; give one per case")
    frame = pl.DataFrame({"user": np.asarray(cases.user, np.int64), "answer": np.asarray(cases.answer, np.int64)})
    if users is not None:
        frame = frame.join(users.select("user", "user_id"), on="user", how="left", maintain_order="left")
    if items is not None:
        ids = items.select(pl.col("item").alias("answer"), "item_id")
        frame = frame.join(ids, on="answer", how="left", maintain_order="left")
    columns = [pl.Series(protocol, values, dtype=pl.Int64) for protocol, values in ranks.items()]
    return frame.with_columns(pl.when(column > 0).then(column).alias(column.name) for column in columns)
