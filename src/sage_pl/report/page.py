"""From subjects to the file: sections made or left out, templates filled, size checked."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sage_pl.artifacts.files import whole_file
from sage_pl.report.blocks import Facts, MissingError, Section
from sage_pl.report.reading import ReportError, Subject
from sage_pl.report.sections import (
    clusters,
    costs,
    embeddings,
    examples,
    groups,
    headline,
    lists,
    prototypes,
    provenance,
    training,
)
from sage_pl.report.vectors import RunVectors

LARGEST = 3_000_000  # bytes of a report


@dataclass(frozen=True)
class Options:
    """What may be chosen about a report.

    Args:
        maps: draw UMAP maps of item vectors; they take most of the time.
        map_items: at most so many on a map.
        examples: users of each kind.
        focus: the system of a comparison that stands beside the baseline; None for the best one.
        seed: of samples, of users drawn, and of UMAP.
    """

    maps: bool = True
    map_items: int = 3000
    examples: int = 3
    focus: str | None = None
    seed: int = 0


@dataclass(frozen=True)
class Chapter:
    """A data set's sections, and what is not there: title and one sentence."""

    name: str
    title: str
    sections: Sequence[Section]
    left_out: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Page:
    """All that ``templates/page.html.j2`` shows."""

    kind: str
    title: str
    findings: Sequence[str]
    facts: Facts | None
    chapters: Sequence[Chapter]
    footer: str


def chapter(subject: Subject, options: Options, more: Sequence[Section] = ()) -> Chapter:
    """Every section that the subject has what it needs for.

    Args:
        more: sections to stand after the results.
    """
    vectors = {name: RunVectors(runs[0]) for name, runs in subject.systems.items()}
    seed = options.seed
    makers: list[tuple[str, Callable[[], Section]]] = [
        (groups.TITLE, lambda: groups.make(subject)),
        (lists.TITLE, lambda: lists.make(subject)),
        (examples.TITLE, lambda: examples.make(subject, options.examples, seed)),
        (training.TITLE, lambda: training.make(subject)),
        (embeddings.TITLE, lambda: embeddings.make(subject, vectors, options.maps, options.map_items, seed)),
        (clusters.TITLE, lambda: clusters.make(subject)),
        (prototypes.TITLE, lambda: prototypes.make(subject, vectors, seed)),
        (costs.TITLE, lambda: costs.make(subject)),
        (provenance.TITLE, lambda: provenance.make(subject)),
    ]
    sections, left_out = [headline.make(subject), *more], []
    for title, make in makers:
        try:
            sections.append(make())
        except MissingError as reason:
            text = str(reason)
            left_out.append((title, f"{text[0].upper()}{text[1:].rstrip('.')}."))
    return Chapter(slug(subject.dataset), subject.dataset, sections, left_out)


def write(page: Page, file: Path) -> Path:
    """Write the page, whole or not at all.

    Raises:
        ReportError: it is larger than 3 MB.
    """
    content = html(page).encode()
    if len(content) > LARGEST:
        raise ReportError(
            f"{file} would have {len(content) / 1e6:.1f} MB, more than {LARGEST / 1e6:.0f}; make it smaller with "
            "map_items=1000 examples=1, or compare fewer runs"
        )
    with whole_file(file) as part:
        part.write_bytes(content)
    return file


def html(page: Page) -> str:
    """The page as text; whatever comes from data is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("sage_pl.report", "templates")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    text = environment.get_template("page.html.j2").render(page=page)
    return re.sub(r"\n\s*\n+", "\n", text)


def slug(text: str) -> str:
    """A name that can be an id: ``c-`` and letters, digits and hyphens."""
    return "c-" + (re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "data")
