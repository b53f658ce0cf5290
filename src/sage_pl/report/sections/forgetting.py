"""What item vectors keep of earlier ones: the order of distances in the baseline's vectors, and in the text vectors."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

import numpy as np

from sage_pl.data.sequences import Sequences
from sage_pl.evaluation.groups import POPULARITY
from sage_pl.report import drawing
from sage_pl.report.blocks import Block, Column, Figure, MissingError, Section, Table, Value
from sage_pl.report.drawing import Height
from sage_pl.report.forgetting import LEAST, Kept, Pairs, kept, pairs
from sage_pl.report.reading import Subject
from sage_pl.report.sections.groups import charted_systems
from sage_pl.report.vectors import FloatArray, RunVectors, text_of

NAME, TITLE = "forgetting", "What item vectors keep"
_BANDS = {"0": 0, **POPULARITY}
_TEXT = "text vectors"
_HOW = (
    "Pairs are the latest items of validation users' histories with the answer, and with an item drawn from those with as many "
    "training events. Kendall's tau compares the order of their cosine distances in {0} and after training: 1 where the order "
    "is kept, 0 where it is forgotten. Bars below 0 are drawn as 0. Nearest and farthest tenth: of the pairs by {0}, the mean "
    "place among all pairs after training, 0.05 and 0.95 where the order is kept."
)


def make(subject: Subject, vectors: Mapping[str, RunVectors], seed: int) -> Section:
    """Agreement of each system's distances with the baseline's, and with those of the text, by training events of the answer.

    Raises:
        MissingError: there is neither a baseline with vectors nor text, or too few pairs.
    """
    data = Sequences.load(subject.first().artifact("sequences"))
    band = np.searchsorted(list(_BANDS.values()), data.train_counts, side="right") - 1
    drawn = pairs(data, band, seed)
    tables = _trained(subject, vectors)
    figures: list[Block] = []
    for name, before in _earlier(subject, vectors, tables).items():
        others = {system: table for system, table in tables.items() if system != name}
        by_system = {system: _by_band(before, after, drawn) for system, after in others.items()}
        if any(by_system.values()):
            figures.append(_figure(subject, name, by_system))
    if not figures:
        raise MissingError("there is no other table of item vectors to compare with, or too few pairs of items")
    return Section(NAME, TITLE, figures)


def _trained(subject: Subject, vectors: Mapping[str, RunVectors]) -> dict[str, FloatArray]:
    tables = {}
    reason = MissingError("no system has a checkpoint")
    for name in (name for name in subject.systems if name in vectors):
        try:
            tables[name] = vectors[name].scored
        except MissingError as missing:
            reason = missing
    if not tables:
        raise reason
    return tables


def _earlier(
    subject: Subject, vectors: Mapping[str, RunVectors], tables: Mapping[str, FloatArray]
) -> dict[str, FloatArray]:
    """The tables whose distances may have been kept: name -> table."""
    earlier = {name: table for name, table in tables.items() if name == subject.baseline}
    with contextlib.suppress(MissingError):
        earlier[_TEXT] = text_of(vectors)
    return earlier


def _by_band(before: FloatArray, after: FloatArray, drawn: Pairs) -> dict[str, tuple[int, Kept]]:
    """Band -> pairs and what is kept, where a band has enough of them."""
    found = {}
    for number, name in enumerate(_BANDS):
        here = drawn.band == number
        if here.sum() >= LEAST:
            found[name] = (int(here.sum()), kept(before, after, drawn.a[here], drawn.b[here]))
    return found


def _figure(subject: Subject, name: str, by_system: Mapping[str, Mapping[str, tuple[int, Kept]]]) -> Figure:
    groups, rows = [], []
    charted = [system for system in charted_systems(subject) if system in by_system]
    for number, band in enumerate(_BANDS):
        here = {system: bands[band] for system, bands in by_system.items() if band in bands}
        if not here:
            continue
        n = next(iter(here.values()))[0]
        heights = [Height(subject.styles[s], s, max(here[s][1].tau, 0)) for s in charted if s in here]
        groups.append((band.replace("-", "–"), f"{n:,}", heights))
        rows += [
            [Value(system), Value(band, number), *(Value(f"{v:.3f}", v) for v in one)]
            for system, (_, one) in here.items()
        ]
    chart = drawing.bars("", groups, "Kendall's tau", "training events of the answer; below: pairs")
    columns = [
        Column("system"),
        Column("events"),
        Column("tau", True),
        Column("nearest tenth", True),
        Column("farthest tenth", True),
    ]
    legend = {subject.styles[system]: system for system in charted}
    what = name if name == _TEXT else f"the vectors of {name}"
    return Figure(
        f"Kept of {what}",
        _HOW.format(what),
        [chart],
        legend,
        Table(f"Kept of {what}, by training events of the answer.", columns, rows),
    )
