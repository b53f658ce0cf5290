"""A comparison as files: Markdown to read, LaTeX to paste, CSV and JSON with everything behind the marks."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sage_pl.artifacts.files import write_text
from sage_pl.comparison.cells import FEW, FEW_MARK, REFIT, UNCONVERGED, Agreement, Cell
from sage_pl.comparison.published import PaperTable
from sage_pl.escaping import csv_cell, tex, visible
from sage_pl.escaping import markdown as md

LEGEND = (
    "Values in percent: mean over seeds ± standard deviation over seeds. "
    "`*`: differs from the baseline, p < 0.05 (paired permutation test over users, Holm-corrected over the groups of the "
    "table), and by more than the noise of seeds. `~`: the difference is within that noise, or it is unknown (one seed). "
    f"{FEW_MARK}: fewer than {FEW} cases. –: no cases. "
    f"{UNCONVERGED}: not converged, the best epoch of a run is its last; no gain is claimed from it, and no difference to or "
    "from it has a `*`. "
    f"{REFIT}: trained again on all events (refit), with nothing left to test on; its values are those of the run that it "
    "repeats."
)
COLUMNS = (
    *("dataset", "protocol", "family", "metric", "system", "group", "cases", "seeds", "mean", "sd", "low", "high"),
    *("baseline", "difference", "difference_low", "difference_high", "p", "p_holm", "effect", "noise", "mark"),
    "converged",
    "refit",
)


class Table(NamedTuple):
    """Cells of one protocol over one family of groups, all metrics and systems."""

    protocol: str
    title: str
    cells: Sequence[Cell]


class ListValue(NamedTuple):
    """A metric of a system's recommended lists."""

    system: str
    metric: str
    seeds: int
    mean: float
    sd: float | None  # over seeds; None with one


class Section(NamedTuple):
    """A data set's tables, agreements and runs."""

    dataset: str
    tables: Sequence[Table]
    agreements: Sequence[Agreement] = ()
    lists: Sequence[ListValue] = ()
    runs: Mapping[str, Sequence[str]] = {}  # system -> folders, in order of seeds
    floors: Sequence[str] = ()  # sentences on the floors, and on systems below them

    @property
    def lines(self) -> list[str]:
        """What is said below the tables."""
        return [*self.floors, *map(str, self.agreements)]


class Comparison(NamedTuple):
    """The content of all files."""

    about: Mapping[str, Any]  # settings of the comparison
    sections: Sequence[Section]
    paper: PaperTable | None = None
    unfinished: Sequence[tuple[str, str]] = ()  # folder, reason
    remarks: Sequence[str] = ()


def write(folder: str | Path, comparison: Comparison) -> None:
    """Write ``comparison.md``, ``.tex``, ``.csv`` and ``.json``, each as a whole; a missing folder is created."""
    folder = Path(folder)
    write_text(folder / "comparison.md", markdown(comparison))
    write_text(folder / "comparison.tex", latex(comparison))
    write_text(folder / "comparison.csv", _csv(comparison.sections))
    write_text(folder / "comparison.json", json.dumps(_record(comparison), indent=1, allow_nan=False) + "\n")


def markdown(comparison: Comparison) -> str:
    """``comparison.md``."""
    about = ", ".join(f"{key} {value}" for key, value in comparison.about.items())
    parts = ["# Comparison", md(about), LEGEND]
    if paper := comparison.paper:
        grid = _grid(paper.header, paper.lines(), len(paper.labels))
        parts += [f"## {md(paper.title)}", f"Printed: {md(paper.source)}", grid]
    for section in comparison.sections:
        dataset = md(section.dataset)
        parts.append(f"## {dataset}")
        for table in section.tables:
            header, lines = layout(table)
            names = [f"{name} ({size})" if size else name for name, size in header]
            parts += [f"### {dataset}, {table.protocol}, {table.title}", _grid(names, lines)]
        if section.lists:
            parts += [f"### {dataset}, recommended lists", _grid(*_lists_layout(section))]
        parts += [md(line) for line in section.lines]
    if comparison.unfinished:
        reasons = [f"{folder}: {reason}" for folder, reason in comparison.unfinished]
        parts += ["## Failed and unfinished runs", _items(reasons)]
    if comparison.remarks:
        parts += ["## Left out, and other remarks", _items(comparison.remarks)]
    return "\n\n".join(parts) + "\n"


def latex(comparison: Comparison) -> str:
    """One ``tabular`` (booktabs) per table."""
    parts = ["% needs \\usepackage{booktabs}"]
    if paper := comparison.paper:
        header, lines = [(name, "") for name in paper.header], list(paper.lines())
        parts.append(_tabular(f"{paper.title}; printed: {paper.source}", header, lines, len(paper.labels)))
    for section in comparison.sections:
        for table in section.tables:
            parts.append(_tabular(f"{section.dataset}, {table.protocol}, {table.title}", *layout(table)))
        if section.lists:
            names, rows = _lists_layout(section)
            parts.append(_tabular(f"{section.dataset}, recommended lists", [(name, "") for name in names], rows))
    return "\n\n".join(parts) + "\n"


def _items(lines: Iterable[str]) -> str:
    return "\n".join(f"- {md(line)}" for line in lines)


def _grid(header: Sequence[str], lines: Iterable[Sequence[str]], texts: int = 2) -> str:
    """A Markdown table; the columns after the first ``texts`` are numbers."""
    rule = ["---"] * texts + ["---:"] * (len(header) - texts)
    rows = [list(map(md, header)), rule, *([*map(md, line[:texts]), *line[texts:]] for line in lines)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _tabular(title: str, header: Sequence[tuple[str, str]], lines: Sequence[Sequence[str]], texts: int = 2) -> str:
    """A LaTeX table; a rule separates lines whose first cell differs."""
    titles = [f"\\shortstack{{{tex(name)}\\\\({tex(size)})}}" if size else tex(name) for name, size in header]
    body: list[str] = []
    for before, line in zip([lines[0] if lines else [], *lines], lines, strict=False):
        body += ["\\midrule"] if before[0] != line[0] else []
        body.append(" & ".join(map(tex, line)) + r" \\")
    start = [f"% {visible(title)}", f"\\begin{{tabular}}{{{'l' * texts}{'r' * (len(header) - texts)}}}", "\\toprule"]
    head = [" & ".join(titles) + r" \\", "\\midrule"]
    return "\n".join([*start, *head, *body, "\\bottomrule", "\\end{tabular}"])


def layout(table: Table) -> tuple[list[tuple[str, str]], list[list[str]]]:
    """Header (name, size of the group) and one line per metric and system."""
    sizes = {cell.group: cell.cases for cell in table.cells}
    groups = [(group, f"{n:,}{FEW_MARK if n < FEW else ''}") for group, n in sizes.items()]
    lines: dict[tuple[str, str], list[str]] = {}
    for cell in table.cells:
        start = [cell.metric, cell.marked_system, str(cell.seeds or "–")]
        lines.setdefault((cell.metric, cell.system), start).append(_value(cell))
    return [("metric", ""), ("system", ""), ("seeds", ""), *groups], list(lines.values())


def _value(cell: Cell) -> str:
    if cell.mean is None:
        return "–"
    spread = f" ± {100 * cell.sd:.2f}" if cell.sd is not None else ""
    mark = f" {cell.against.mark}" if cell.against and cell.against.mark else ""
    return f"{100 * cell.mean:.2f}{spread}{mark}"


def _lists_layout(section: Section) -> tuple[list[str], list[list[str]]]:
    """Header and one line per system, all metrics beside each other."""
    values = section.lists
    marked = {cell.system: cell.marked_system for table in section.tables for cell in table.cells}
    by_place = {(value.system, value.metric): value for value in values}
    metrics = list(dict.fromkeys(value.metric for value in values))
    lines = []
    for system in dict.fromkeys(value.system for value in values):
        row = [by_place.get((system, metric)) for metric in metrics]
        seeds = next(value.seeds for value in row if value)
        lines.append([marked.get(system, system), str(seeds), *(_list_value(value) for value in row)])
    return ["system", "seeds", *metrics], lines


def _list_value(value: ListValue | None) -> str:
    if value is None:
        return "–"
    return f"{value.mean:.3f}" + (f" ± {value.sd:.3f}" if value.sd is not None else "")


def _record(comparison: Comparison) -> dict[str, Any]:
    """``comparison.json``."""
    sections, paper = comparison.sections, comparison.paper
    record: dict[str, Any] = {
        "about": dict(comparison.about),
        "remarks": list(comparison.remarks),
        "unfinished": [{"folder": folder, "reason": reason} for folder, reason in comparison.unfinished],
        "runs": {section.dataset: dict(section.runs) for section in sections},
        "lines": {section.dataset: section.lines for section in sections},
        "agreement": [{"dataset": section.dataset, **a._asdict()} for section in sections for a in section.agreements],
        "lists": [{"dataset": section.dataset, **value._asdict()} for section in sections for value in section.lists],
        "values": list(_records(sections)),
    }
    if paper:
        record["tables"] = [{**paper._asdict(), "rows": [row._asdict() for row in paper.rows]}]
    return record


def _records(sections: Sequence[Section]) -> Iterator[dict[str, Any]]:
    for section in sections:
        for table in section.tables:
            for cell in table.cells:
                against = cell.against._asdict() if cell.against else {}
                against = {f"difference_{k}" if k in ("low", "high") else k: v for k, v in against.items()}
                place = {"dataset": section.dataset, "family": table.title}
                yield {name: {**place, **cell._asdict(), **against}.get(name) for name in COLUMNS}


def _csv(sections: Sequence[Section]) -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for record in _records(sections):
        writer.writerow({key: csv_cell(value) if isinstance(value, str) else value for key, value in record.items()})
    return stream.getvalue()
