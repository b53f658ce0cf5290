"""Metrics as a frame."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl


def metrics_table(metrics: Mapping[str, float]) -> pl.DataFrame:
    """``protocol``, ``group``, ``cases`` and a column for each metric of a test.

    Args:
        metrics: as in ``metrics.json``.

    >>> metrics_table({"test/full/count": 9, "test/full/hr@10": 0.5, "floor/popularity/full/hr@10": 0.2})
    shape: (1, 4)
    ┌──────────┬─────────┬───────┬───────┐
    │ protocol ┆ group   ┆ cases ┆ hr@10 │
    │ ---      ┆ ---     ┆ ---   ┆ ---   │
    │ str      ┆ str     ┆ i64   ┆ f64   │
    ╞══════════╪═════════╪═══════╪═══════╡
    │ full     ┆ overall ┆ 9     ┆ 0.5   │
    └──────────┴─────────┴───────┴───────┘
    """
    rows: dict[tuple[str, str], dict[str, float]] = {}
    for name, value in metrics.items():
        match name.split("/"):
            case ["test", protocol, metric, *group] if protocol != "lists" and (metric == "count" or "@" in metric):
                rows.setdefault((protocol, "/".join(group) or "overall"), {})[metric] = value
    names = {metric for row in rows.values() for metric in row if metric != "count"}
    ordered = sorted(names, key=lambda name: (name.partition("@")[0], int(name.partition("@")[2])))
    places = sorted(rows, key=lambda place: (place[0], place[1] != "overall", place[1]))
    return pl.DataFrame(
        [
            {"protocol": place[0], "group": place[1], "cases": int(rows[place].get("count", 0))}
            | {name: rows[place].get(name) for name in ordered}
            for place in places
        ]
    )
