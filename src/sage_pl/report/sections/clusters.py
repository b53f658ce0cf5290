"""The clusters of items: their most typical titles, sizes, and how sharp the memberships are."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np

from sage_pl.artifacts.store import Artifact
from sage_pl.data.sequences import Sequences
from sage_pl.report import drawing, wording
from sage_pl.report.blocks import Block, Column, Facts, Figure, MissingError, Section, Table, Value
from sage_pl.report.drawing import Height
from sage_pl.report.reading import RunFiles, Subject
from sage_pl.report.vectors import FloatArray, IntArray
from sage_pl.semantic.memberships import entropies

NAME, TITLE = "clusters", "Clusters of items"
_MOST = 150  # rows of the table
_TITLES = 4


def make(subject: Subject) -> Section:
    """Of the first run that reads clusters.

    Raises:
        MissingError: none does.
    """
    files, clusters = with_clusters(subject)
    labels, shares, strength = (clusters.array(name) for name in ("labels", "memberships", "strength"))
    report = json.loads((clusters.path / "report.json").read_text())
    data = Sequences.load(files.artifact("sequences"))
    entropy = entropies(np.asarray(shares[1:-1], np.float64)) / np.log(shares.shape[1])
    facts = {
        "clusters": (f"{report['clusters']:,}", ""),
        "in no cluster": (f"{100 * report['noise']:.1f} %", "noise of HDBSCAN"),
        "membership entropy": (f"{entropy.mean():.2f}", "0 crisp, 1 flat; mean over items"),
        "median size": (
            f"{np.median(report['sizes']):.0f}",
            f"{min(report['sizes']):,} to {max(report['sizes']):,} items",
        ),
    }
    if report.get("silhouette") is not None:
        facts["silhouette"] = (f"{report['silhouette']:.2f}", "in the projection, without noise")
    blocks: list[Block] = [Facts(facts), _charts(np.asarray(report["sizes"]), entropy, labels[1:-1])]
    blocks.append(_table(files, data, labels, strength, entropy))
    return Section(NAME, TITLE, blocks)


def typical(members: IntArray, strength: FloatArray, counts: IntArray, n: int) -> IntArray:
    """The ``n`` items that belong to their cluster most firmly, of equals the most popular."""
    return members[np.lexsort((-counts[members], -strength[members]))][:n]


def with_clusters(subject: Subject) -> tuple[RunFiles, Artifact]:
    """The first run that reads clusters, and those.

    Raises:
        MissingError: none does.
    """
    reasons = []
    for runs in subject.systems.values():
        try:
            return runs[0], runs[0].artifact("cluster")
        except MissingError as reason:
            reasons.append(str(reason))
    raise MissingError(reasons[-1])


def _charts(sizes: IntArray, entropy: FloatArray, labels: IntArray) -> Figure:
    edges = np.unique(
        np.rint(np.geomspace(sizes.min(), sizes.max() + 1, min(7, len(np.unique(sizes)) + 1))).astype(int)
    )
    binned = [
        (f"{a}–{b - 1}" if b - 1 > a else str(a), int(((sizes >= a) & (sizes < b)).sum())) for a, b in pairwise(edges)
    ]
    by_size = [(name, "", [Height("s1", "clusters", n)]) for name, n in binned]
    borders = np.linspace(0, 1, 11)
    inside, outside = (np.histogram(entropy[member], borders)[0] for member in (labels >= 0, labels < 0))
    by_entropy = [
        (f"{low:.1f}", "", [Height("s1", "in a cluster", int(a)), Height("floor", "in none", int(b))])
        for low, a, b in zip(borders, inside, outside, strict=False)
    ]
    charts = [
        drawing.bars("Clusters by size", by_size, "clusters", "items in the cluster"),
        drawing.bars("Items by membership entropy", by_entropy, "items", "entropy from ... to 0.1 more"),
    ]
    text = (
        "Entropy of an item's memberships over that of an even share: near 0 it belongs to one cluster, near 1 to all."
    )
    return Figure("Sizes and memberships", text, charts, {"s1": "items in a cluster", "floor": "items in none"})


def _table(files: RunFiles, data: Sequences, labels: IntArray, strength: FloatArray, entropy: FloatArray) -> Table:
    counts, titles = data.train_counts, files.titles
    sizes = np.bincount(labels[labels >= 0])
    order = np.argsort(-sizes, kind="stable")
    rows = []
    for cluster in order[:_MOST]:
        members = np.flatnonzero(labels == cluster)
        tail = float((counts[members] < 5).mean())
        mean = float(entropy[members - 1].mean())
        rows.append(
            [
                Value(str(cluster), int(cluster)),
                Value(
                    " · ".join(wording.shortened(titles[i], 60) for i in typical(members, strength, counts, _TITLES))
                ),
                Value(f"{len(members):,}", len(members)),
                Value(f"{mean:.2f}", mean),
                Value(f"{100 * tail:.0f} %", tail),
                Value(f"{counts[members].sum():,}", int(counts[members].sum())),
            ]
        )
    columns = [
        Column("cluster"),
        Column("most typical titles"),
        Column("items", True),
        Column("entropy", True),
        Column("rare", True, "under 5 events"),
        Column("events", True, "in training"),
    ]
    text = "Typical: the items that belong to the cluster most firmly; of equals, the most popular."
    return Table(text + (f" The {_MOST} largest of {len(sizes):,}." if len(sizes) > _MOST else ""), columns, rows)
