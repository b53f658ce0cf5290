"""Whether a run's training had ended: its best epoch lies before the last validated one, or early stopping ended it."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sage_pl.artifacts.files import whole_lines
from sage_pl.artifacts.identity import value_at

_MONITOR = "val/full/ndcg@10"


def converged(folder: Path, metrics: Mapping[str, float], config: Mapping[str, Any]) -> bool | None:
    """Whether a run had reached its best epoch before it ended; None where nothing tells.

    ``metrics.json`` says it (``converged``, 1 or 0). Runs of earlier versions have their values by epoch in ``metrics.csv``.

    Args:
        folder: of the run.
        metrics: of ``metrics.json``.
        config: of ``config.yaml``.
    """
    if "converged" in metrics:
        return bool(metrics["converged"])
    monitor = str(value_at(config, "callbacks.best.monitor") or _MONITOR)
    values = _validations(folder / "metrics.csv", monitor)
    if not values:
        return None
    best = min(values) if value_at(config, "callbacks.best.mode") == "min" else max(values)
    return values.index(best) < len(values) - 1


def _validations(table: Path, monitor: str) -> list[float]:
    """The values of a metric in the order of the epochs."""
    if not table.is_file():
        return []
    rows = csv.DictReader(whole_lines(table).decode(errors="replace").splitlines())
    try:
        return [float(row[monitor]) for row in rows if row.get(monitor)]
    except ValueError:
        return []
