"""Accuracy by popularity of the answer and length of the history: bars, users by items, other groups."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from sage_pl.comparison import statistics
from sage_pl.comparison.cells import FEW, FEW_MARK
from sage_pl.evaluation.groups import LENGTH, POPULARITY, members
from sage_pl.report import drawing, labels
from sage_pl.report.blocks import Block, Column, Figure, MissingError, Section, Table, Value
from sage_pl.report.reading import Subject
from sage_pl.report.sections import headline

NAME, TITLE = "groups", "Accuracy by popularity and history"
_BANDS = {
    "By popularity of the answer": (
        "training events of the answer",
        ("item_unseen", *(f"item_{b}" for b in POPULARITY)),
    ),
    "By length of the history": ("events before the answer", tuple(f"user_{b}" for b in LENGTH)),
}
MOST = 5  # systems in one chart


def make(subject: Subject) -> Section:
    """Bars of each family of bands, the map of users by items, tables of the other groups."""
    blocks: list[Block] = []
    for title, (what, bands) in _BANDS.items():
        if any(r.group in bands and r.cases for r in subject.records):
            blocks.append(_bars(subject, title, what, bands))
    blocks.append(_map(subject))
    above = {"overall", *headline.MAIN, *(band for _, bands in _BANDS.values() for band in bands)}
    others = list(dict.fromkeys(r.group for r in subject.records if r.group not in above))
    if others:
        place = subject.protocols[0], subject.metrics[0]
        blocks.append(headline.table(subject, *place, others, "Other groups: "))
    return Section(NAME, TITLE, blocks)


def charted_systems(subject: Subject, protocol: str = "", most: int = MOST) -> list[str]:
    """The systems in charts: the floor of a protocol, the baseline, the one in focus, and the best others."""
    scores = {name: (r.mean or 0) if (r := subject.find(name)) else 0 for name in subject.systems}
    first = [name for name in (subject.baseline, subject.focus) if name]
    others = sorted((n for n in scores if n not in first), key=lambda n: -scores[n])
    floor = [name] if (name := subject.floor(protocol)) else []
    return list(dict.fromkeys([*floor, *first, *others]))[:most]


def legend(subject: Subject, names: Sequence[str]) -> dict[str, str]:
    """Style class -> name; the floors of several protocols have one style."""
    styles = subject.styles
    return {
        styles[name]: "; ".join(other for other in dict.fromkeys(names) if styles[other] == styles[name])
        for name in names
    }


def _bars(subject: Subject, title: str, what: str, bands: Sequence[str]) -> Figure:
    by_protocol = {protocol: charted_systems(subject, protocol) for protocol in subject.protocols}
    names, metric = [name for ones in by_protocol.values() for name in ones], subject.metrics[0]
    present = [b for b in bands if any(r.group == b for r in subject.records)]
    charts = []
    for protocol, charted in by_protocol.items():
        groups = []
        for band in present:
            cells = {name: subject.find(name, band, protocol, metric) for name in charted}
            n = next((c.cases for c in cells.values() if c), 0)
            heights = [headline.height(subject, name, cell) for name, cell in cells.items()]
            few = FEW_MARK if n < FEW else ""
            groups.append((labels.group(band).removesuffix(" items"), f"{n:,}{few}", heights))
        charts.append(drawing.bars(labels.protocol(protocol).capitalize(), groups, labels.metric(metric), what, " %"))
    left_out = len(subject.systems.keys() - set(names))
    more = f" {left_out} more {'is' if left_out == 1 else 'are'} in the tables only." if left_out else ""
    text = f"{labels.metric(metric)} in percent with 95 % intervals over users; below each group its number of users.{more}"
    table = headline.table(subject, subject.protocols[0], metric, present, f"{title}: ")
    return Figure(title, text, charts, legend(subject, names), table)


def _map(subject: Subject) -> Figure:
    """Users by items: each system's accuracy in the cells, or the difference to its baseline."""
    protocol, metric = subject.protocols[0], subject.metrics[0]
    rows, columns = _BANDS["By length of the history"][1], _BANDS["By popularity of the answer"][1]
    facts = members(subject.first().frame)
    matrix = np.array([[facts[u] & facts[i] for i in columns] for u in rows])
    cases = matrix.sum(-1)
    gains = {
        name: _gains(subject, name, protocol, metric) for name in charted_systems(subject) if name in subject.systems
    }
    cells = matrix.reshape(-1, matrix.shape[-1]).T
    means = {name: statistics.group_means(gain[None], cells)[0] for name, gain in gains.items()}
    places = [labels.group(u) for u in rows], [labels.group(i).removesuffix(" items") for i in columns]
    names = ("events before the answer", "training events of the answer")
    charts = []
    for name, mean in means.items():
        base = subject.bases.get(name, "")
        values, title = (mean - means[base], f"{name} minus {base}") if base in means else (mean, name)
        charts.append(drawing.heat(title, 100 * values.reshape(cases.shape), cases, *places, names, base in means))
    unit = "; differences in points, blue above and orange below the baseline" if subject.baseline else ""
    text = (
        f"{labels.metric(metric)}, {labels.protocol(protocol)}, in percent{unit}. "
        f"Cells with fewer than {FEW} users are drawn faintly and do not set the colours; "
        "a cell's number of users appears under the pointer and in the table."
    )
    return Figure("Users by items", text, charts, {}, _map_table(means, cases, *places))


def _gains(subject: Subject, system: str, protocol: str, metric: str) -> npt.NDArray[np.float64]:
    """[K] averaged over seeds."""
    runs = [files for files in subject.systems[system] if protocol in files.protocols]
    if not runs:
        raise MissingError(f"no run of {system} holds ranks of {protocol}")
    return np.mean([statistics.gains(files.ranks(protocol), metric) for files in runs], axis=0)


def _map_table(
    means: dict[str, npt.NDArray[np.float64]], cases: npt.NDArray[np.int64], rows: Sequence[str], columns: Sequence[str]
) -> Table:
    heads = [Column("events before"), Column("events of the answer"), Column("users", True)]
    lines = []
    for k, (i, j) in enumerate(np.ndindex(cases.shape)):
        n = int(cases[i, j])
        shares = [None if np.isnan(mean[k]) else float(mean[k]) for mean in means.values()]
        head = [Value(rows[i], i), Value(columns[j], j), Value(f"{n:,}", n)]
        lines.append(head + [Value(labels.percent(share), share) for share in shares])
    return Table("Every cell, in percent.", heads + [Column(name, True) for name in means], lines)
