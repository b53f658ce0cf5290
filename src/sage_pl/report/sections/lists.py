"""The recommended items: coverage, concentration, share of the tail, novelty, similarity of texts."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sage_pl.report.blocks import Block, Column, MissingError, Section, Table, Value
from sage_pl.report.reading import Subject

NAME, TITLE = "lists", "What is recommended"
_PREFIX = "test/lists/"
_MEANINGS = {
    "coverage": "share of the catalogue in someone's list",
    "gini": "0: all items equally often, 1: one item only",
    "tail_share": "share of tail items in the lists",
    "novelty": "mean bits of an item's rarity",
    "text_similarity": "mean cosine of the texts within a list",
}
_SHARES = ("coverage", "tail_share")


def make(subject: Subject) -> Section:
    """One row per system, means over its seeds."""
    values = {name: _means([files.run.metrics for files in runs]) for name, runs in subject.systems.items()}
    metrics = list(dict.fromkeys(metric for means in values.values() for metric in means))
    if not metrics:
        raise MissingError("the runs have no metrics of their recommendation lists (test/lists/...)")
    columns = [Column("system"), *(Column(_name(m), True, _MEANINGS.get(m.split("@")[0], "")) for m in metrics)]
    rows = [[Value(name), *(_value(means.get(m), m) for m in metrics)] for name, means in values.items()]
    blocks: list[Block] = [Table("Of the items recommended to all test users; means over seeds.", columns, rows)]
    return Section(NAME, TITLE, blocks)


def _means(seeds: list[Mapping[str, float]]) -> dict[str, float]:
    names = [n for n in seeds[0] if n.startswith(_PREFIX) and all(n in metrics for metrics in seeds)]
    return {n.removeprefix(_PREFIX): float(np.mean([metrics[n] for metrics in seeds])) for n in names}


def _name(metric: str) -> str:
    return metric.replace("_", " ").replace("gini", "Gini")


def _value(value: float | None, metric: str) -> Value:
    if value is None:
        return Value("–", tone="muted")
    return Value(f"{100 * value:.1f} %" if metric.startswith(_SHARES) else f"{value:.3f}", value)
