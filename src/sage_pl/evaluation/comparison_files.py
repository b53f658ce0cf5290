"""A comparison as files: Markdown to read, LaTeX to paste, CSV and JSON with everything behind the marks."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sage_pl.evaluation.comparison import FEW, Cell

FEW_MARK = "†"
LEGEND = (
    "Values in percent: mean over seeds ± standard deviation over seeds. "
    "`*`: differs from the baseline, p < 0.05 (paired permutation test over users, Holm-corrected over the groups of the "
    "table). `~`: the difference is within the noise of seeds, or that is unknown (one seed). "
    f"{FEW_MARK}: fewer than {FEW} cases. –: no cases."
)
COLUMNS = (
    *("dataset", "protocol", "metric", "system", "group", "cases", "seeds", "mean", "sd", "low", "high"),
    *("baseline", "difference", "difference_low", "difference_high", "p", "p_holm", "effect", "noise", "mark"),
)


class Table(NamedTuple):
    """Cells of one protocol over one family of groups, all metrics and systems."""

    protocol: str
    title: str
    cells: Sequence[Cell]


class Section(NamedTuple):
    """A data set's tables and what there is to say about them."""

    dataset: str
    tables: Sequence[Table]
    lines: Sequence[str] = ()


def write(
    folder: str | Path, sections: Sequence[Section], about: Mapping[str, Any], remarks: Sequence[str] = ()
) -> None:
    """Write ``comparison.md``, ``.tex``, ``.csv`` and ``.json``.

    Args:
        folder: made if it is missing.
        sections: one per data set.
        about: settings of the comparison, for the record.
        remarks: runs that were left out, and why.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    record = {
        "about": dict(about),
        "remarks": list(remarks),
        "lines": {section.dataset: list(section.lines) for section in sections},
        "values": list(_records(sections)),
    }
    (folder / "comparison.md").write_text(markdown(sections, about, remarks))
    (folder / "comparison.tex").write_text(latex(sections))
    (folder / "comparison.csv").write_text(_csv(sections), newline="")
    (folder / "comparison.json").write_text(json.dumps(record, indent=1, allow_nan=False) + "\n")


def markdown(sections: Sequence[Section], about: Mapping[str, Any], remarks: Sequence[str] = ()) -> str:
    """The report to read."""
    parts = ["# Comparison", ", ".join(f"{key} {value}" for key, value in about.items()), LEGEND]
    for section in sections:
        parts.append(f"## {section.dataset}")
        for table in section.tables:
            header, lines = _layout(table)
            rule = ["---", "---"] + ["---:"] * (len(header) - 2)
            rows = [[f"{name} ({size})" if size else name for name, size in header], rule, *lines]
            text = "\n".join(f"| {' | '.join(_cell.replace('|', '/') for _cell in row)} |" for row in rows)
            parts += [f"### {section.dataset}, {table.protocol}, {table.title}", text]
        parts += section.lines
    if remarks:
        parts += ["## Left out, and other remarks", "\n".join(f"- {remark}" for remark in remarks)]
    return "\n\n".join(parts) + "\n"


def latex(sections: Sequence[Section]) -> str:
    """One ``tabular`` (booktabs) per table."""
    parts = ["% needs \\usepackage{booktabs}"]
    for section in sections:
        for table in section.tables:
            header, lines = _layout(table)
            titles = [
                f"\\shortstack{{{_tex(name)}\\\\({_tex(size)})}}" if size else _tex(name) for name, size in header
            ]
            body, metric = [], lines[0][0] if lines else ""
            for line in lines:
                body += ["\\midrule"] if line[0] != metric else []
                metric = line[0]
                body.append(" & ".join(map(_tex, line)) + r" \\")
            parts.append(
                "\n".join(
                    (
                        f"% {section.dataset}, {table.protocol}, {table.title}",
                        f"\\begin{{tabular}}{{ll{'r' * (len(header) - 2)}}}",
                        "\\toprule",
                        " & ".join(titles) + r" \\",
                        "\\midrule",
                        *body,
                        "\\bottomrule",
                        "\\end{tabular}",
                    )
                )
            )
    return "\n\n".join(parts) + "\n"


def _layout(table: Table) -> tuple[list[tuple[str, str]], list[list[str]]]:
    """Header (name, size of the group) and one line per metric and system."""
    sizes = {cell.group: cell.cases for cell in table.cells}
    groups = [(group, f"{n:,}{FEW_MARK if n < FEW else ''}") for group, n in sizes.items()]
    lines: dict[tuple[str, str], list[str]] = {}
    for cell in table.cells:
        start = [cell.metric, cell.system, str(cell.seeds or "–")]
        lines.setdefault((cell.metric, cell.system), start).append(_value(cell))
    return [("metric", ""), ("system", ""), ("seeds", ""), *groups], list(lines.values())


def _value(cell: Cell) -> str:
    if cell.mean is None:
        return "–"
    spread = f" ± {100 * cell.sd:.2f}" if cell.sd is not None else ""
    mark = f" {cell.against.mark}" if cell.against and cell.against.mark else ""
    return f"{100 * cell.mean:.2f}{spread}{mark}"


def _records(sections: Sequence[Section]) -> Iterator[dict[str, Any]]:
    for section in sections:
        for table in section.tables:
            for cell in table.cells:
                own = {k: v for k, v in cell._asdict().items() if k != "against"}
                versus = cell.against._asdict() if cell.against else {}
                renamed = {f"difference_{k}" if k in ("low", "high") else k: v for k, v in versus.items()}
                yield {name: {"dataset": section.dataset, **own, **renamed}.get(name) for name in COLUMNS}


def _csv(sections: Sequence[Section]) -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_records(sections))
    return stream.getvalue()


_TEX = {
    **{c: f"\\{c}" for c in "_%&#${}"},
    "\\": r"\textbackslash{}",
    "~": r"$\sim$",
    "±": r"$\pm$",
    "–": "--",
    "*": "$^*$",
    FEW_MARK: r"\dag",
    "^": r"\^{}",
}


def _tex(text: str) -> str:
    return "".join(_TEX.get(character, character) for character in text)
