"""The clusters of items: most typical titles, sizes, sharpness of the memberships."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np

from sage_pl.artifacts.store import Artifact
from sage_pl.data.sequences import Sequences
from sage_pl.report import drawing, labels
from sage_pl.report.blocks import Column, Facts, Figure, MissingError, Section, Table, Value
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
    cluster_of, shares, strength = (clusters.array(name) for name in ("labels", "memberships", "strength"))
    report = json.loads((clusters.path / "report.json").read_text())
    data = Sequences.load(files.artifact("sequences"))
    entropy = entropies(np.asarray(shares[1:-1], np.float64)) / np.log(shares.shape[1])
    sizes = report["sizes"]
    facts = {
        "clusters": (f"{report['clusters']:,}", ""),
        "in no cluster": (f"{100 * report['noise']:.1f} %", "noise of HDBSCAN"),
        "membership entropy": (f"{entropy.mean():.2f}", "0 crisp, 1 flat; mean over items"),
        "median size": (f"{np.median(sizes):.0f}", f"{min(sizes):,} to {max(sizes):,} items"),
    }
    if report.get("silhouette") is not None:
        facts["silhouette"] = (f"{report['silhouette']:.2f}", "in the projection, without noise")
    charts = _charts(np.asarray(sizes), entropy, cluster_of[1:-1])
    table = _table(files, data, cluster_of, strength, entropy)
    return Section(NAME, TITLE, [Facts(facts), charts, table])


def typical(members: IntArray, strength: FloatArray, counts: IntArray, n: int) -> IntArray:
    """The ``n`` items of highest membership strength, ties by popularity."""
    return members[np.lexsort((-counts[members], -strength[members]))][:n]


def with_clusters(subject: Subject) -> tuple[RunFiles, Artifact]:
    """The first run that reads clusters, and its clusters.

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


def _charts(sizes: IntArray, entropy: FloatArray, cluster_of: IntArray) -> Figure:
    spaced = np.geomspace(sizes.min(), sizes.max() + 1, min(7, len(np.unique(sizes)) + 1))
    by_size = []
    for a, b in pairwise(np.unique(np.rint(spaced).astype(int))):
        name = f"{a}–{b - 1}" if b - 1 > a else str(a)
        by_size.append((name, "", [Height("s1", "clusters", int(((sizes >= a) & (sizes < b)).sum()))]))
    borders = np.linspace(0, 1, 11)
    inside, outside = (np.histogram(entropy[member], borders)[0] for member in (cluster_of >= 0, cluster_of < 0))
    by_entropy = [
        (f"{low:.1f}", "", [Height("s1", "in a cluster", int(a)), Height("floor", "in none", int(b))])
        for low, a, b in zip(borders, inside, outside, strict=False)
    ]
    charts = [
        drawing.bars("Clusters by size", by_size, "clusters", "items in the cluster"),
        drawing.bars("Items by membership entropy", by_entropy, "items", "entropy from ... to 0.1 more"),
    ]
    text = "Entropy of an item's memberships over that of uniform ones: near 0 one cluster, near 1 all clusters alike."
    return Figure("Sizes and memberships", text, charts, {"s1": "items in a cluster", "floor": "items in none"})


def _table(files: RunFiles, data: Sequences, cluster_of: IntArray, strength: FloatArray, entropy: FloatArray) -> Table:
    counts, titles = data.train_counts, files.titles
    sizes = np.bincount(cluster_of[cluster_of >= 0])
    order = np.argsort(-sizes, kind="stable")
    rows = []
    for cluster in order[:_MOST]:
        members = np.flatnonzero(cluster_of == cluster)
        tail = float((counts[members] < 5).mean())
        mean = float(entropy[members - 1].mean())
        events = int(counts[members].sum())
        examples = typical(members, strength, counts, _TITLES)
        rows.append(
            [
                Value(str(cluster), int(cluster)),
                Value(" · ".join(labels.shorten(titles[i], 60) for i in examples)),
                Value(f"{len(members):,}", len(members)),
                Value(f"{mean:.2f}", mean),
                Value(f"{100 * tail:.0f} %", tail),
                Value(f"{events:,}", events),
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
    text = "Typical: the items of highest membership strength, ties by popularity."
    return Table(text + (f" The {_MOST} largest of {len(sizes):,}." if len(sizes) > _MOST else ""), columns, rows)
