"""Item vectors from text and after training: maps, uniformity and alignment, spectra."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from sage_pl.artifacts.store import Artifact
from sage_pl.data.sequences import Sequences
from sage_pl.evaluation.groups import POPULARITY
from sage_pl.report import drawing, labels
from sage_pl.report.blocks import Block, Column, Figure, MissingError, Names, Prose, Section, Table, Value
from sage_pl.report.maps import NAMES, Layout, project
from sage_pl.report.reading import RunFiles, Subject
from sage_pl.report.sections.clusters import typical, with_clusters
from sage_pl.report.sections.groups import charted_systems
from sage_pl.report.vectors import FloatArray, IntArray, RunVectors, Spread, sample, singular_values, spread, text_of

NAME, TITLE = "embeddings", "Item vectors before and after"
TEXT, TRAINED = "text vectors", ", trained"
_LARGEST = 7  # clusters with their own colour
_POINTS, _FLOOR = 64, 1e-6  # of a spectrum's curve; smaller values are rounding errors
_BANDS = ("0", *(band.replace("-", "–") for band in POPULARITY))


def make(
    subject: Subject, vectors: Mapping[str, RunVectors], layout: Layout | Literal[False], items: int, seed: int
) -> Section:
    """Maps of a sample of items in three colourings; uniformity, alignment and singular values of each table.

    Args:
        vectors: system -> vectors of its first run.
        layout: of the maps, which take most of a report's time; False for none.
        items: largest number of items on a map.
        seed: of the sample and of the maps.
    """
    files = subject.first()
    tables, remarks = _tables(subject, vectors)
    if not tables:
        raise MissingError(" ".join(remarks))
    data = Sequences.load(files.artifact("sequences"))
    blocks: list[Block] = [Prose(labels.without_folders(remark)) for remark in remarks]
    if layout:
        blocks += _maps(tables, data, files, _clusters_of(subject), items, seed, layout)
    else:
        blocks.append(Prose("Maps are left out, as they take most of a report's time; scripts/report.py draws them."))
    blocks += [_spreads(subject, tables, data, files, seed), _spectra(subject, tables, vectors)]
    return Section(NAME, TITLE, blocks)


def _tables(subject: Subject, vectors: Mapping[str, RunVectors]) -> tuple[dict[str, FloatArray], list[str]]:
    """Text vectors, then each system's scored vectors; and a sentence for each missing table."""
    tables: dict[str, FloatArray] = {}
    remarks = []
    try:
        tables[TEXT] = text_of(vectors)
    except MissingError as reason:
        remarks.append(f"There is nothing to show from before: {reason}.")
    for name in (name for name in charted_systems(subject) if name in vectors):
        try:
            tables[name + TRAINED] = vectors[name].scored
        except MissingError as reason:
            remarks.append(f"{name}: {reason}.")
    return tables, remarks


def _clusters_of(subject: Subject) -> Artifact | None:
    try:
        return with_clusters(subject)[1]
    except MissingError:
        return None


def _maps(
    tables: Mapping[str, FloatArray],
    data: Sequences,
    files: RunFiles,
    clusters: Artifact | None,
    items: int,
    seed: int,
    layout: Layout,
) -> list[Block]:
    """One figure per colouring, one map per table."""
    ids = sample(np.arange(1, data.n_items + 1), items, seed)
    places: dict[str, FloatArray] = {}
    try:
        for name, table in tables.items():
            start = next(iter(places.values()), None)
            places[name] = project(np.asarray(table[ids]), start, seed, layout)
    except MissingError as reason:
        return [Prose(f"{reason}.")]
    counts = data.train_counts[ids]
    which = f"{len(ids):,} of {data.n_items:,} items, drawn at random" if len(ids) < data.n_items else "All items"
    caption = f"{which}; {NAMES[layout]} of cosine distances, later maps start from the first. "
    caption += "Directions and scales mean nothing. "
    caption += "A point's title appears under the pointer, and by the arrow keys on a chosen map."
    band = np.searchsorted(list(POPULARITY.values()), counts, side="right")
    bands = {f"b{i}": f"{n} training events" for i, n in enumerate(_BANDS)}
    colourings = [
        ("Coloured by popularity", [f"b{b}" for b in band], bands),
        ("Coloured by head and tail", *_head_tail(files, data, ids)),
    ]
    if clusters is not None:
        colourings.append(("Coloured by cluster", *_clusters(clusters, ids, files)))
    titles = files.titles
    names = [f"{labels.shorten(titles[i], 70)}, {n:,} training events" for i, n in zip(ids, counts, strict=True)]
    blocks: list[Block] = [Names(names)]
    for title, styles, legend in colourings:
        order = np.argsort([_DEPTH.get(style, 2) for style in styles], kind="stable")
        in_order = [styles[i] for i in order]
        text = f"Map of {len(ids):,} items by their {{}}, {title.lower()}; the arrow keys name the points."
        charts = [
            drawing.scatter(name, place[order], in_order, text.format(name), order.tolist())
            for name, place in places.items()
        ]
        present = {style: name for style, name in legend.items() if style in set(styles)}
        blocks.append(Figure(title, caption, charts, present))
    return blocks


_DEPTH = {"noise": 0, "other": 1, "b0": 6, "b1": 5, "b2": 4, "b3": 3}  # higher is on top


def _head_tail(files: RunFiles, data: Sequences, ids: IntArray) -> tuple[list[str], dict[str, str]]:
    heads = _heads(files, data)
    return ["s1" if heads[i] else "s2" for i in ids], {"s1": "head", "s2": "tail"}


def _heads(files: RunFiles, data: Sequences) -> np.ndarray:
    """[R], True for head items: training count at least that of the rarest head answer."""
    frame = files.frame
    head = frame.filter("item_head")["answer"].to_numpy()
    counts = data.train_counts
    least = counts[head].min() if len(head) else counts.max() + 1
    return counts >= least


def _clusters(clusters: Artifact, ids: IntArray, files: RunFiles) -> tuple[list[str], dict[str, str]]:
    cluster_of = np.asarray(clusters.array("labels"))
    sizes = np.bincount(cluster_of[cluster_of >= 0])
    largest = {int(c): f"s{i + 1}" for i, c in enumerate(np.argsort(-sizes, kind="stable")[:_LARGEST])}
    styles = [largest.get(int(cluster_of[i]), "other" if cluster_of[i] >= 0 else "noise") for i in ids]
    titles, strength = files.titles, np.asarray(clusters.array("strength"))
    counts = Sequences.load(files.artifact("sequences")).train_counts
    legend = {}
    for c, style in largest.items():
        (most,) = typical(np.flatnonzero(cluster_of == c), strength, counts, 1)
        legend[style] = f"{c}: {labels.shorten(titles[most], 32)}"
    return styles, legend | {"other": "other clusters", "noise": "in no cluster"}


def _spreads(
    subject: Subject, tables: Mapping[str, FloatArray], data: Sequences, files: RunFiles, seed: int
) -> Figure | Prose:
    everyone, heads = np.arange(1, data.n_items + 1), _heads(files, data)
    groups = {"all": everyone, "head": everyone[heads[1:-1]], "tail": everyone[~heads[1:-1]]}
    spreads: dict[tuple[str, str], Spread] = {}
    for group, ids in groups.items():
        try:
            spreads |= {(name, group): spread(table, ids, data, seed) for name, table in tables.items()}
        except MissingError:
            continue
    if not spreads:
        return Prose("Too few items follow each other in training for figures of uniformity and alignment.")
    charts = []
    styles = {name: _style(subject, name) for name in tables}
    readers = [name for name, runs in subject.systems.items() if "embed" in runs[0].artifacts]
    for group in groups:
        by_table = {name: s for (name, g), s in spreads.items() if g == group}
        if not by_table:
            continue
        start = by_table.get(TEXT)
        moves = []
        for name, end in by_table.items():
            system = name.removesuffix(TRAINED)
            points = [start, end] if start and system in readers else [end]
            moves.append((styles[name], system, [(s.uniformity, s.alignment) for s in points]))
        title = f"{group.capitalize()} items"
        charts.append(drawing.arrows(title, moves, "uniformity, lower is more even", "alignment"))
    rows = [[Value(name), Value(g), *(Value(f"{v:.3f}", v) for v in s)] for (name, g), s in spreads.items()]
    columns = [Column("vectors"), Column("items"), *(Column(name, True) for name in Spread._fields)]
    text = (
        "Uniformity: log of the mean of exp(−2 d²) over random pairs of items, d their distance on the unit sphere. "
        "Alignment: mean d² of items that follow each other in training histories, so lower is closer. Good vectors lie to the "
        "lower left: spread out, with what is bought together close together. A line leads from the text vectors to systems "
        "that read text. Cosine: mean over random pairs."
    )
    return Figure("Uniformity and alignment", text, charts, {}, Table("Of each table of vectors.", columns, rows))


def _spectra(subject: Subject, tables: Mapping[str, FloatArray], vectors: Mapping[str, RunVectors]) -> Figure:
    """Singular values of all tables, then of the unscored views of the items."""
    charts = {"Scored vectors": [_curve(_style(subject, name), name, table) for name, table in tables.items()]}
    for system in [name.removesuffix(TRAINED) for name in tables if name != TEXT]:
        for view, table in vectors[system].views.items():
            curve = _curve(subject.styles[system], system, table)
            charts.setdefault(f"View {view}", []).append(curve)
    text = (
        "Singular values of the items' vectors, largest first, as shares of the largest in powers of ten, over the share of a "
        "table's directions. A curve that falls early belongs to vectors that use few of their directions. Views are what an "
        "item's vector is made of, or what sequences read of it."
    )
    panels = [
        drawing.lines(title, curves, "% of directions", y_name="log10 of the share") for title, curves in charts.items()
    ]
    return Figure("Singular values", text, panels, {_style(subject, name): name for name in tables})


def _curve(style: str, name: str, table: FloatArray) -> drawing.Series:
    values = singular_values(table)
    at = np.unique(np.linspace(0, len(values) - 1, _POINTS).round().astype(int))
    powers = np.log10(values.clip(_FLOOR))
    return drawing.Series(style, name, (100 * (at + 1) / len(values)).tolist(), powers[at].tolist())


def _style(subject: Subject, name: str) -> str:
    return "floor" if name == TEXT else subject.styles[name.removesuffix(TRAINED)]
