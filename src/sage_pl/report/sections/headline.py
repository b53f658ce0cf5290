"""The main results: the system in focus beside its baseline, then every system, with intervals and differences."""

from __future__ import annotations

from collections.abc import Sequence

from sage_pl.comparison.cells import FEW, FEW_MARK, REFIT, UNCONVERGED, marks_of
from sage_pl.evaluation.floors import is_floor
from sage_pl.report import drawing, labels
from sage_pl.report.blocks import Block, Column, Figure, Folded, Prose, Section, SideBySide, Table, Value
from sage_pl.report.drawing import Height
from sage_pl.report.reading import Record, Subject
from sage_pl.report.sections import verdict

NAME, TITLE = "results", "Results"
MAIN = ("overall", "item_head", "item_tail", "item_unseen", "user_short", "user_long")
HERO = MAIN[:4]
MARKS = {"*": "* is above the noise of seeds, and significant over users (p < 0.05, Holm-corrected)"}
OF_SYSTEMS = {
    UNCONVERGED: f"{UNCONVERGED}: not converged, the best epoch of a run is its last; no gain is claimed from it.",
    REFIT: f"{REFIT}: trained again on all events (refit); its values are those of the run that it repeats.",
}
_NONE = Value("–", tone="muted")
_SIGNS = {verdict.BETTER: "▲", verdict.WORSE: "▼"}


def make(subject: Subject, charted: Sequence[str]) -> Section:
    """The chart of the main groups beside the differences; all systems, other metrics and protocols below.

    Args:
        charted: systems of the chart where none has a baseline.
    """
    places = [(protocol, metric) for protocol in subject.protocols for metric in subject.metrics]
    pair = _pair(subject)
    blocks: list[Block] = [SideBySide(_hero(subject, pair, charted), _first(subject, pair, *places[0]))]
    rest = [table(subject, *place, legend=False) for place in places[1:]]
    if pair and len(subject.systems) == 1:
        rest = [duel(subject, pair[-2], pair[-1], *place) for place in places[1:]]
    elif pair:  # of two systems the first table has both
        every = table(subject, *places[0], title="All systems: ", legend=False)
        (rest if len(subject.systems) == 2 else blocks).append(every)
    if rest:
        blocks.append(Folded("Other metrics, and sampled candidates", rest))
    if subject.lines:
        blocks.append(Folded("Floors and agreement of the protocols", [Prose(line) for line in subject.lines]))
    return Section(NAME, TITLE, blocks)


def _pair(subject: Subject) -> list[str]:
    """The floor, the baseline and the system in focus; [] if that has no baseline."""
    base = subject.bases.get(subject.focus or "")
    if base is None or subject.focus is None:
        return []
    return list(dict.fromkeys([*([floor] if (floor := subject.floor()) else []), base, subject.focus]))


def _first(subject: Subject, pair: Sequence[str], protocol: str, metric: str) -> Table:
    if pair:
        return duel(subject, pair[-2], pair[-1], protocol, metric)
    return table(subject, protocol, metric, HERO)


def _hero(subject: Subject, pair: Sequence[str], charted: Sequence[str]) -> Figure:
    """Bars of the main groups, with intervals."""
    names, title = (pair, "beside the baseline") if pair else (charted, "of the best systems")
    metric, groups = labels.metric(subject.metrics[0]), []
    for group in HERO:
        cells = {name: subject.find(name, group) for name in names}
        known = [cell for cell in cells.values() if cell and cell.cases]
        if known:
            heights = [height(subject, name, cell) for name, cell in cells.items()]
            groups.append((labels.group(group), f"{known[0].cases:,} users", heights))
    chart = drawing.bars("", groups, metric, unit=" %")
    text = f"{metric}, {labels.protocol(subject.protocols[0])}; bars: mean, lines: 95 % interval over users."
    return Figure(f"{metric} {title}", text, [chart], {subject.styles[name]: name for name in names})


def height(subject: Subject, name: str, cell: Record | None) -> Height:
    """A bar with its interval, in percent."""
    if cell is None:
        return Height("none", name, None)
    percents = [None if value is None else 100 * value for value in (cell.mean, cell.low, cell.high)]
    return Height(subject.styles[name], name, *percents)


def duel(subject: Subject, base: str, name: str, protocol: str, metric: str) -> Table:
    """Rows: groups; columns: both systems, the difference with its interval, and the difference by the baseline."""
    columns = [Column("group"), Column(name, True), Column("difference", True, "in points")]
    columns += [Column("relative", True), Column(base, True)]
    rows = []
    for group in MAIN:
        one, other = (subject.find(system, group, protocol, metric) for system in (name, base))
        if one is None or not one.cases:
            continue
        few = FEW_MARK if one.cases < FEW else ""
        head = Value(labels.group(group), note=f"{one.cases:,} users{few}")
        share = Value(verdict.lift(subject, one), _share(one, other))
        rows.append([head, _value(one), _difference(subject, one), share, _value(other)])
    text = f"{labels.metric(metric)} in percent, {labels.protocol(protocol)}."
    return Table(f"{text} {_legend(subject, protocol, metric)}", columns, rows)


def _share(one: Record, other: Record | None) -> float | None:
    return one.difference / other.mean if one.difference is not None and other and other.mean else None


def table(
    subject: Subject,
    protocol: str,
    metric: str,
    groups: Sequence[str] = MAIN,
    title: str = "",
    legend: bool = True,
) -> Table:
    """Rows: systems, the best first; columns: groups, each with the difference to the baseline where there is one."""
    records = [r for r in subject.records if r.protocol == protocol and r.metric == metric]
    sizes = {r.group: r.cases for r in records}
    present = [name for name in groups if name in sizes]
    tested = {r.group for r in records if r.difference is not None}
    columns = [Column("system")]
    for name in present:
        few = FEW_MARK if sizes[name] < FEW else ""
        columns.append(Column(labels.group(name), True, f"{sizes[name]:,}{few} users"))
        columns += [Column("difference", True, labels.group(name))] * (name in tested)
    rows = []
    for system in dict.fromkeys(r.system for r in records):
        cells = {name: subject.find(system, name, protocol, metric) for name in present}
        one = next(cell for cell in cells.values() if cell)
        note = "" if not one.seeds else "1 seed" if one.seeds == 1 else f"{one.seeds} seeds"
        row = [Value(system, note=note, mark=" ".join(marks_of(one.converged, one.refit)))]
        for name, cell in cells.items():
            row += [_value(cell), *([_difference(subject, cell)] if name in tested else [])]
        rows.append(row)
    rows.sort(key=lambda row: -(row[1].sort or 0) if len(row) > 1 else 0)
    text = f"{title}{labels.metric(metric)} in percent, {labels.protocol(protocol)}."
    return Table(f"{text} {_legend(subject, protocol, metric) if legend else ''}".rstrip(), columns, rows)


def _legend(subject: Subject, protocol: str, metric: str) -> str:
    records = [r for r in subject.records if r.protocol == protocol and r.metric == metric]
    spread = "± standard deviation over seeds, " if any(r.sd is not None for r in records) else ""
    text = f"Small: {spread}95 % interval over users."
    if any(record.mark and not verdict.against_floor(record) for record in records):
        bases = " or ".join(sorted(set(subject.bases.values())))
        text += f" Differences are to {bases}; {MARKS['*']}; without a sign it is no finding."
    if any(verdict.against_floor(record) for record in records):
        text += " ▲ and ▼: above or below the floor, by the 95 % interval of the difference."
    present = {mark for record in records for mark in marks_of(record.converged, record.refit)}
    text += "".join(f" {meaning}" for mark, meaning in OF_SYSTEMS.items() if mark in present)
    return text + (f" {FEW_MARK}: fewer than {FEW} users." if any(r.cases < FEW for r in records) else "")


def _value(record: Record | None) -> Value:
    if record is None or record.mean is None:
        return _NONE
    spread = f" ± {labels.percent(record.sd)}" if record.sd is not None else ""
    note, tone = labels.between(record.low, record.high), "muted" if is_floor(record.system) else ""
    return Value(labels.percent(record.mean) + spread, record.mean, note, tone=tone)


def _difference(subject: Subject, record: Record | None) -> Value:
    if record is None or record.difference is None:
        return _NONE
    low, high = labels.points(record.difference_low), labels.points(record.difference_high)
    note, word = f"{low} to {high}", verdict.word(subject, record)
    tone = word if word in _SIGNS else "muted"
    mark = _SIGNS.get(word, "") if verdict.against_floor(record) else "*" * (word in _SIGNS)
    return Value(labels.points(record.difference), record.difference, note, mark, tone)
