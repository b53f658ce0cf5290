"""The effect of prototypes on tail items: distance to the prototype, and neighbours of the same cluster."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from sage_pl.data.sequences import Sequences
from sage_pl.evaluation.groups import POPULARITY
from sage_pl.report import drawing
from sage_pl.report.blocks import Block, Column, Figure, MissingError, Section, Table, Value
from sage_pl.report.drawing import Height
from sage_pl.report.reading import Subject
from sage_pl.report.sections.groups import charted_systems
from sage_pl.report.vectors import FloatArray, IntArray, RunVectors, purity, sample, text_of

NAME, TITLE = "prototypes", "Prototypes and tail items"
_QUERIES = 3000
_BANDS = {"0": 0, **POPULARITY}
_Rows = Mapping[str, tuple[str, FloatArray]]  # name -> style and a value per item


def make(subject: Subject, vectors: Mapping[str, RunVectors], seed: int) -> Section:
    """Distance to the prototype before and after, and the share of neighbours of the same cluster.

    Raises:
        MissingError: no run pulls its items to prototypes, or its checkpoint is missing.
    """
    owner, prototypes = _owner(vectors)
    files = subject.first(owner)
    data = Sequences.load(files.artifact("sequences"))
    labels = np.asarray(files.artifact("cluster").array("labels"))
    band = np.searchsorted(list(_BANDS.values()), data.train_counts, side="right") - 1
    everyone = np.arange(1, data.n_items + 1)
    start, end, style = vectors[owner].start_id, vectors[owner].trained_id, subject.styles[owner]
    distances: dict[str, tuple[str, FloatArray]] = {
        "before training": ("floor", _rms(start - prototypes)[1:-1]),
        f"{owner}, trained": (style, _rms(end - prototypes)[1:-1]),
    }
    moves = {"moved": (style, _rms(end - start)[1:-1])}
    figures: list[Block] = [
        _figure(
            "Distance to the prototype",
            f"Root mean square over the {prototypes.shape[1]} widths of E_id − q, the view in the term, by training events "
            "of the item. On the right, the distance of the same view from its start: only prototypes move items "
            "without events.",
            {"To the prototype": (distances, _mean), "From the start": (moves, _mean)},
            everyone,
            band,
        )
    ]
    ids = sample(everyone[labels[1:-1] >= 0], _QUERIES, seed)
    shares = _purities(subject, vectors, labels, ids, owner)
    if shares:
        figures.append(
            _figure(
                "Neighbours of the same cluster",
                f"Of an item's 10 nearest items by cosine, the percentage in its cluster, for {len(ids):,} items that "
                "have a cluster, by their training events. High for rare items: their vectors, with few purchases to learn "
                "from, still lie where their text does.",
                {"": (shares, _percent)},
                ids,
                band,
            )
        )
    return Section(NAME, TITLE, figures)


def _owner(vectors: Mapping[str, RunVectors]) -> tuple[str, FloatArray]:
    reason = MissingError("there is no run")
    for name, run in vectors.items():
        try:
            return name, run.prototypes
        except MissingError as missing:
            reason = missing
    raise reason


def _purities(
    subject: Subject, vectors: Mapping[str, RunVectors], labels: IntArray, ids: IntArray, owner: str
) -> dict[str, tuple[str, FloatArray]]:
    sources: dict[str, tuple[str, Callable[[], FloatArray]]] = {"text vectors": ("floor", partial(text_of, vectors))}
    for name in dict.fromkeys(name for name in (*charted_systems(subject), owner) if name in vectors):
        sources[f"{name}, trained"] = (subject.styles[name], partial(getattr, vectors[name], "scored"))
    shares = {}
    for name, (style, table) in sources.items():
        with contextlib.suppress(MissingError):
            shares[name] = (style, purity(table(), labels, ids))
    return shares


def _figure(
    title: str,
    text: str,
    parts: Mapping[str, tuple[_Rows, Callable[[FloatArray], float]]],
    ids: IntArray,
    band: IntArray,
) -> Figure:
    charts, rows = [], []
    legend: dict[str, str] = {}
    numbers = [int((band[ids] == b).sum()) for b in range(len(_BANDS))]
    for part, (values, summary) in parts.items():
        groups = []
        for b, name in enumerate(_BANDS):
            if not numbers[b]:
                continue
            heights = [Height(style, label, summary(v[band[ids] == b])) for label, (style, v) in values.items()]
            groups.append((name.replace("-", "–"), f"{numbers[b]:,}", heights))
            rows += [
                [Value(part or title), Value(name, b), Value(h.name), Value(f"{h.value:.3g}", h.value)] for h in heights
            ]
        charts.append(drawing.bars(part, groups, part or title, "training events of the item"))
        legend |= {style: label for label, (style, _) in values.items() if label != "moved"}
    columns = [Column("what"), Column("events"), Column("vectors"), Column("value", True)]
    return Figure(title, text, charts, legend, Table(f"{title}: means by group.", columns, rows))


def _rms(difference: FloatArray) -> FloatArray:
    return np.sqrt((np.asarray(difference, np.float64) ** 2).mean(1))


def _mean(values: FloatArray) -> float:
    return float(values.mean())


def _percent(values: FloatArray) -> float:
    return 100 * float(values.mean())
