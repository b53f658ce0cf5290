"""A run's folder, or a comparison's, as one page."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from sage_pl.artifacts.plain import read_json
from sage_pl.comparison import statistics
from sage_pl.comparison.runs import FinishedRun, RunError, read
from sage_pl.errors import machine_problem
from sage_pl.report import labels, links, reading, titles
from sage_pl.report.blocks import Block, Column, Folded, Links, MissingError, Prose, Section, Table, Value
from sage_pl.report.page import Options, Page, chapter, write
from sage_pl.report.reading import ReportError, Subject
from sage_pl.report.sections import curves, headline
from sage_pl.report.sections.verdict import verdicts, without_baseline

log = logging.getLogger(__name__)
FILE = "report.html"
MOST_VALUES = 10_000_000  # of a comparison of many runs
_METRICS = ("ndcg@10", "hr@10")
_OPEN, _SHORT = 4, 2  # links to runs, and remarks, that stand open
_ONE_SEED = "One seed: differences of a few percent may be noise of the seed."


def after_run(what: Literal["run", "comparison"], how: str) -> Callable[[Path], None]:
    """The function that train and compare call with their folder once the results are on disk; it never raises.

    Args:
        what: kind of the folder.
        how: ``full``, or ``quick`` for a page without maps of item vectors.

    Raises:
        ReportError: ``how`` is neither, before training begins.
    """
    if how not in ("full", "quick"):
        raise ReportError(f"report is {how!r}; wanted full, quick or null")
    make = of_run if what == "run" else of_comparison

    def write_page(folder: Path) -> None:
        try:
            if how == "full":
                log.info("report      its maps of the items take longest; report=quick leaves them out")
            log.info("report      %s", labels.near(make(folder, Options(maps=how == "full"))))
        except (ReportError, RunError) as error:
            log.warning("no report: %s", error)
        except Exception as error:
            problem = machine_problem(error)
            log.warning(
                "no report; the results are complete%s", f": {problem}" if problem else "", exc_info=not problem
            )

    return write_page


def of_run(folder: str | Path, options: Options, out: str | Path | None = None) -> Path:
    """Write a finished run's page.

    Args:
        folder: the run's.
        out: folder of the page; None for the run's.

    Raises:
        RunError: the folder holds no finished run.
        ReportError: unusable ranks, or the page is too large.
    """
    run, page = read(Path(folder)), Path(out or folder) / FILE
    subject = reading.run_subject(run, _METRICS, statistics.RESAMPLES, options.seed)
    title = titles.of_run(run)
    footer = f"Made from the run folder {run.folder.name}, seed {run.seed}. {_ONE_SEED}"
    chapters = [chapter(subject, options)]
    return write(Page(_kind(run), title, verdicts(subject), chapters, footer, links.comparisons(page)), page)


def _kind(run: FinishedRun) -> str:
    """The choices and the end of a run in a line."""
    choices = [f"{key} {run.choices[key]}" for key in ("method", "backbone", "dataset") if key in run.choices]
    parts = ["Run", *choices, f"seed {run.seed}"]
    if epochs := int(run.metrics.get("epochs", 0)):
        parts.append(f"best epoch {int(run.metrics['best_epoch'])}, last {epochs - 1}")
    return " · ".join(parts)


def of_comparison(folder: str | Path, options: Options, out: str | Path | None = None) -> Path:
    """Write a comparison's page from ``comparison.json`` and the run folders in it.

    Raises:
        ReportError: the folder holds no comparison, or none of its runs can be read.
    """
    content = _content(Path(folder))
    datasets = list(dict.fromkeys(value["dataset"] for value in content["values"]))
    subjects, losses = [], []
    for dataset in datasets:
        runs, problems = _runs(content, dataset)
        losses += problems
        if runs:
            subjects.append(reading.comparison_subject(content, runs, dataset, options.focus))
    if not subjects:
        raise ReportError(f"none of the runs of {folder} can be read: {'; '.join(losses)}")
    first, *others = subjects
    page = Path(out or folder) / FILE
    chapters = [chapter(first, options, [*_curves(content, first), *_published(content)])]
    chapters += [chapter(other, options, _curves(content, other)) for other in others]
    chapters = [replace(c, sections=[*c.sections, _of_runs(s, page)]) for c, s in zip(chapters, subjects, strict=True)]
    chapters[-1] = replace(chapters[-1], sections=[*chapters[-1].sections, *_remarks(content, losses)])
    results = [
        verdict._replace(place=labels.title(s.dataset) if len(subjects) > 1 else "")
        for s in subjects
        for verdict in verdicts(s)
    ] or without_baseline(subjects, str(content.get("about", {}).get("baseline") or ""))
    title = titles.of_comparison(subjects, _by(content))
    about = ", ".join(f"{key} {value}" for key, value in content.get("about", {}).items())
    footer = f"Made from comparison.json of the folder {Path(folder).resolve().name}: {about}."
    write(
        Page(f"Comparison of {sum(len(s.systems) for s in subjects)} systems", title, results, chapters, footer), page
    )
    _link_back(subjects, page, title)
    return page


def _of_runs(subject: Subject, page: Path) -> Section:
    """Every run, with a link to its page where it has one."""
    by_run = {}
    for system, runs in subject.systems.items():
        for files in runs:
            target = files.run.place / FILE
            link = links.address(page, target) if target.is_file() else ""
            name = f"{system}, seed {files.run.seed}"
            by_run[name] = link, files.run.place.name
    text = "A run without a link has no page yet: scripts/report.py run=FOLDER writes it."
    remarks = [Prose(text)] if not all(link for link, _ in by_run.values()) else []
    blocks: list[Block] = [Links(by_run), *remarks]
    return Section("runs", "Runs", blocks if len(by_run) <= _OPEN else [Folded(f"All {len(by_run)} runs", blocks)])


def _link_back(subjects: Sequence[Subject], page: Path, title: str) -> None:
    """The pages of the runs get a link to this one."""
    for files in (files for subject in subjects for runs in subject.systems.values() for files in runs):
        target = files.run.place / FILE
        try:
            if target.is_file():
                links.add(target, page, title)
        except OSError as error:
            log.warning("%s gets no link to the comparison: %s", target, error)


def _content(folder: Path) -> Mapping[str, Any]:
    file = folder / "comparison.json"
    if not file.is_file():
        raise ReportError(
            f"{folder} is no comparison (no comparison.json); make one with scripts/compare.py runs=... folder=..."
        )
    content = read_json(file, MOST_VALUES)
    if not isinstance(content, Mapping):
        raise ReportError(f"{file} holds no comparison; compare the runs again")
    if missing := [key for key in ("values", "lines", "runs") if key not in content]:
        raise ReportError(f"{file} has no {', '.join(missing)}, as older versions wrote it; compare the runs again")
    return content


def _runs(content: Mapping[str, Any], dataset: str) -> tuple[dict[str, list[FinishedRun]], list[str]]:
    """System -> its runs in order of seeds, and a sentence for each run that cannot be read."""
    by_system: dict[str, list[FinishedRun]] = {}
    problems = []
    for system, folders in content["runs"].get(dataset, {}).items():
        for folder in folders:
            try:
                run = read(Path(folder))
            except RunError as error:
                problems.append(f"{system}: {error}")
            else:
                by_system.setdefault(system, []).append(run)
    return by_system, problems


def _curves(content: Mapping[str, Any], subject: Subject) -> list[Section]:
    """Where the systems are named by a number that varies."""
    try:
        return [curves.make(subject, _by(content))]
    except MissingError:
        return []


def _by(content: Mapping[str, Any]) -> list[str]:
    """The keys that name systems."""
    by = str(content.get("about", {}).get("by") or "")
    return by.split(", ") if by else []


def _remarks(content: Mapping[str, Any], losses: Sequence[str]) -> list[Section]:
    """Unfinished runs, runs the comparison left out, and runs that have vanished since."""
    unfinished = [f"{one['folder']}: {one['reason']}" for one in content.get("unfinished", [])]
    lines = dict.fromkeys([*unfinished, *content.get("remarks", []), *losses])
    blocks: list[Block] = [Prose(labels.without_folders(line)) for line in lines]
    if len(blocks) > _SHORT:
        blocks = [Folded(f"All {len(blocks)} remarks", blocks)]
    return [Section("remarks", "Left out, and other remarks", blocks)] if blocks else []


def _published(content: Mapping[str, Any]) -> list[Section]:
    """The paper tables of a comparison: our rows beside the printed ones."""
    blocks: list[Block] = []
    for one in content.get("tables", []):
        columns = [*map(Column, one["labels"]), Column("origin"), *(Column(name, True) for name in one["columns"])]
        rows = [[*map(Value, row["labels"]), Value(row["origin"]), *_cells(row)] for row in one["rows"]]
        marks = {mark for row in one["rows"] for text in row["marks"] for mark in text.split()}
        meanings = [f"{meaning}." for mark, meaning in headline.MARKS.items() if mark in marks]
        meanings += [meaning for mark, meaning in headline.OF_SYSTEMS.items() if mark in marks]
        source = f"{one['title']}. {one['source']}".removesuffix(".") + "." * bool(meanings)
        blocks.append(Table(" ".join([source, *meanings]), columns, rows))
    return [Section("published", "Beside published figures", blocks)] if blocks else []


def _cells(row: Mapping[str, Any]) -> list[Value]:
    tone = "muted" if row["origin"] == "printed" else ""
    pairs = zip(row["values"], row["marks"], strict=True)
    return [Value("–" if value is None else f"{value:.4f}", value, mark=mark, tone=tone) for value, mark in pairs]
