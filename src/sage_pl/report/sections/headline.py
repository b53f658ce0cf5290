"""The main results: every system in the main groups, with intervals and marks."""

from __future__ import annotations

from collections.abc import Sequence

from sage_pl.comparison.cells import FEW, FEW_MARK, REFIT, UNCONVERGED, marks_of
from sage_pl.evaluation.floors import is_floor
from sage_pl.report import labels
from sage_pl.report.blocks import Block, Column, Prose, Section, Table, Value
from sage_pl.report.reading import Record, Subject

NAME, TITLE = "results", "Results"
MAIN = ("overall", "item_head", "item_tail", "item_unseen", "user_short", "user_long")
MARKS = {
    "*": "* is above the noise of seeds, and significant over users (p < 0.05, Holm-corrected)",
    "~": "~ is within the noise of seeds, or that is unknown (one seed)",
}
OF_SYSTEMS = {
    UNCONVERGED: f"{UNCONVERGED}: not converged, the best epoch of a run is its last; no gain is claimed from it.",
    REFIT: f"{REFIT}: trained again on all events (refit); its values are those of the run that it repeats.",
}


def make(subject: Subject) -> Section:
    """One table per protocol, and the lines of the comparison."""
    blocks: list[Block] = [table(subject, protocol) for protocol in subject.protocols]
    blocks += [Prose(line) for line in subject.lines]
    return Section(NAME, TITLE, blocks)


def findings(subject: Subject) -> list[str]:
    """One sentence per system: the difference to the floor (a single run) or to the baseline.

    A system that is not converged, or whose baseline is not, gets a sentence that says so, and none of a gain.
    """
    metric, sentences = labels.metric(subject.metrics[0]), []
    for name in subject.systems:
        one = subject.find(name)
        if one is None or one.difference is None:
            continue
        if early := [x.system for x in (one, subject.find(one.baseline or "")) if x and x.converged is False]:
            why = f"{' and '.join(early)} had not converged (the best epoch is the last)"
            text = f"{name} against {one.baseline}: no finding, since {why}."
            sentences.append((name == subject.focus, one.difference, text))
            continue
        parts = [_finding(one, f"{metric} over all users")]
        tail = subject.find(name, "item_tail")
        if tail and tail.difference is not None:
            parts.append(_finding(tail, "for tail items"))
        single = one.mark == "~" and one.seeds == 1 and not is_floor(one.baseline or "")
        doubt = " One seed, so not yet a finding." if single else ""
        repeated = " Measured on the run that the refit repeats." if one.refit else ""
        text = f"{name} against {one.baseline}: {'; '.join(parts)}.{doubt}{repeated}"
        sentences.append((name == subject.focus, one.difference, text))
    best = [text for *_, text in sorted(sentences, reverse=True)]
    rest = len(best) - 3
    more = [f"{rest} more {'is' if rest == 1 else 'are'} in the table below."] if rest > 0 else []
    return best[:3] + more


def _finding(record: Record, where: str) -> str:
    interval = f"{labels.points(record.difference_low)} to {labels.points(record.difference_high)}"
    doubt = "; within the noise of seeds" if record.mark == "~" and record.seeds > 1 else ""
    return f"{where} {labels.points(record.difference)} points (95 % interval {interval}{doubt})"


def table(subject: Subject, protocol: str, groups: Sequence[str] = MAIN, title: str = "") -> Table:
    """Rows: metric and system; columns: groups with their sizes."""
    records = [r for r in subject.records if r.protocol == protocol]
    sizes = {r.group: r.cases for r in records}
    present = [name for name in groups if name in sizes]
    columns = [Column("system"), Column("metric")]
    for name in present:
        few = FEW_MARK if sizes[name] < FEW else ""
        columns.append(Column(labels.group(name), True, f"{sizes[name]:,}{few}"))
    rows = []
    for metric in subject.metrics:
        for system in dict.fromkeys(r.system for r in records):
            cells = [subject.find(system, name, protocol, metric) for name in present]
            seeds = next((c.seeds for c in cells if c), 0)
            note = "" if not seeds else "1 seed" if seeds == 1 else f"{seeds} seeds"
            mark = next((" ".join(marks_of(c.converged, c.refit)) for c in cells if c), "")
            head = [Value(system, note=note, mark=mark), Value(labels.metric(metric))]
            rows.append(head + [_value(cell) for cell in cells])
    text = title or f"{labels.protocol(protocol).capitalize()}."
    return Table(f"{text} {_legend(subject, records, sizes)}", columns, rows)


def _legend(subject: Subject, records: Sequence[Record], sizes: dict[str, int]) -> str:
    spread = "± standard deviation over seeds, " if any(r.sd is not None for r in records) else ""
    text = f"In percent; {spread}below it the 95 % interval over users."
    marks = {record.mark for record in records if record.mark and not _by_interval(record)}
    if marks:
        meanings = "; ".join(meaning for mark, meaning in MARKS.items() if mark in marks)
        text += f" Marks, of the difference to {' or '.join(sorted(set(subject.bases.values())))}: {meanings}."
    if any(_by_interval(record) for record in records):
        text += " ▲ and ▼: above or below the floor, by the 95 % interval of the difference."
    present = {mark for record in records for mark in marks_of(record.converged, record.refit)}
    text += "".join(f" {meaning}" for mark, meaning in OF_SYSTEMS.items() if mark in present)
    few = min(sizes.values(), default=FEW) < FEW
    return text + (f" {FEW_MARK}: fewer than {FEW} users." if few else "")


def _by_interval(record: Record) -> bool:
    """A converged single run against the floor: the noise of seeds is unknown, the interval over users is known."""
    return is_floor(record.baseline or "") and record.seeds == 1 and record.converged is not False


def _value(record: Record | None) -> Value:
    if record is None or record.mean is None:
        return Value("–", tone="muted")
    spread = f" ± {labels.percent(record.sd)}" if record.sd is not None else ""
    note = labels.between(record.low, record.high)
    tone = "muted" if is_floor(record.system) else ""
    mark = record.mark or ""
    if _by_interval(record):
        low, high = record.difference_low, record.difference_high
        mark = "▲" if low is not None and low > 0 else "▼" if high is not None and high < 0 else ""
    elif mark == "*" and record.difference:
        tone = "better" if record.difference > 0 else "worse"
    return Value(labels.percent(record.mean) + spread, record.mean, note, mark, tone)
