"""The data set on a card: users, items, dates, lengths, and what the filters left out."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

from sage_pl.artifacts.plain import read_json
from sage_pl.artifacts.store import Artifact
from sage_pl.evaluation.groups import days
from sage_pl.report.blocks import Block, Column, Facts, Folded, MissingError, Section, Table, Value
from sage_pl.report.reading import Subject

NAME, TITLE = "data", "The data"


def make(subject: Subject) -> Section:
    """Of the artifact that every run here reads.

    Raises:
        MissingError: its folder or its report is missing.
    """
    artifact = subject.first().artifact("sequences")
    file = artifact.path / "report.json"
    if not file.is_file():
        raise MissingError(f"{artifact.path} holds no report.json, which says what was left out")
    report = read_json(file)
    stages, lengths, split = report["stages"], report["lengths"], report["split"]
    last = stages[-1]
    density = 100 * last["interactions"] / (last["users"] * last["items"])
    facts = {
        "users": (f"{last['users']:,}", f"{lengths['q50']:.0f} events at the median, {lengths['max']:,} at most"),
        "items": (f"{last['items']:,}", f"{density:.2g} % of all pairs occur"),
        "events": (f"{last['interactions']:,}", f"{split['train']:,} of them for training"),
        "test answers": (f"{split['test']:,}", f"{split['valid']:,} for validation"),
        "dates": _dates(artifact),
    }
    lost_events = stages[0]["interactions"] - last["interactions"]
    share = 100 * lost_events / stages[0]["interactions"]
    facts["left out"] = (f"{lost_events:,} events", f"{share:.0f} % of the source") if lost_events else ("nothing", "")
    blocks: list[Block] = [Facts(facts, large=True)]
    if len(stages) > 1:
        columns = [Column("filter"), *(Column(name, True, "left out") for name in ("users", "items", "events"))]
        rows = []
        for before, after in pairwise(stages):
            lost = [before[key] - after[key] for key in ("users", "items", "interactions")]
            rows.append([Value(after["stage"]), *(Value(f"{n:,}", n) for n in lost)])
        source = stages[0]
        text = f"What the filters left out of {source['users']:,} users, {source['items']:,} items and "
        text += f"{source['interactions']:,} events; dataset.filters=[] keeps them."
        blocks.append(Folded("What was left out", [Table(text, columns, rows)]))
    return Section(NAME, TITLE, blocks)


def _dates(artifact: Artifact) -> tuple[str, str]:
    """First and last day; the times of a source may be positions."""
    day_of = days(artifact)
    known = None if day_of is None else day_of[day_of >= 0]
    if known is None or not len(known):
        return "not recorded", "events are in order, without a date"
    first, last = (datetime.fromtimestamp(int(day) * 86_400, UTC) for day in (known.min(), known.max()))
    return f"{first:%b %Y} to {last:%b %Y}", f"{int(known.max() - known.min()) + 1:,} days"
