"""The page of a report: make or skip its sections, fill in the templates, check the size."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sage_pl.artifacts.files import whole_file
from sage_pl.escaping import visible
from sage_pl.ranges import Count, Natural, Seed
from sage_pl.report import labels, links
from sage_pl.report.blocks import MissingError, Section, Verdict
from sage_pl.report.maps import Layout
from sage_pl.report.reading import ReportError, Subject
from sage_pl.report.sections import (
    clusters,
    costs,
    data,
    embeddings,
    examples,
    forgetting,
    groups,
    headline,
    lists,
    prototypes,
    provenance,
    training,
)
from sage_pl.report.vectors import RunVectors

if TYPE_CHECKING:
    from jinja2 import Environment

LARGEST = 3_000_000  # bytes of a report


@dataclass(frozen=True)
class Options:
    """Settings of a report.

    Args:
        maps: draw maps of item vectors, which take most of the time.
        layout: of the maps.
        map_items: largest number of items on a map.
        examples: users of each kind.
        focus: system of a comparison beside the baseline; None for the best one.
        seed: of samples and of maps.
    """

    maps: bool = True
    layout: Layout = "umap"
    map_items: Count = 3000
    examples: Natural = 3
    focus: str | None = None
    seed: Seed = 0


@dataclass(frozen=True)
class Chapter:
    """A data set's sections: the open ones, those for research, which are folded, and title and reason of each missing one."""

    name: str
    title: str
    sections: Sequence[Section]
    research: Sequence[Section] = ()
    left_out: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Page:
    """The input of ``templates/page.html.j2``; ``comparisons``: address -> title of the comparisons of a run."""

    kind: str
    title: str
    verdicts: Sequence[Verdict]
    chapters: Sequence[Chapter]
    footer: str
    comparisons: Mapping[str, str] = field(default_factory=dict)


def chapter(subject: Subject, options: Options, more: Sequence[Section] = ()) -> Chapter:
    """All sections whose data the subject has.

    Args:
        more: sections that follow the results.
    """
    vectors = {name: RunVectors(runs[0]) for name, runs in subject.systems.items()}
    seed = options.seed
    charted = groups.charted_systems(subject)
    shown: list[_Maker] = [
        (data.TITLE, lambda: data.make(subject)),
        (examples.TITLE, lambda: examples.make(subject, options.examples, seed)),
        (lists.TITLE, lambda: lists.make(subject)),
    ]
    research: list[_Maker] = [
        (groups.TITLE, lambda: groups.make(subject)),
        (training.TITLE, lambda: training.make(subject)),
        (
            embeddings.TITLE,
            lambda: embeddings.make(subject, vectors, options.maps and options.layout, options.map_items, seed),
        ),
        (forgetting.TITLE, lambda: forgetting.make(subject, vectors, seed)),
        (clusters.TITLE, lambda: clusters.make(subject)),
        (prototypes.TITLE, lambda: prototypes.make(subject, vectors, seed)),
        (costs.TITLE, lambda: costs.make(subject)),
        (provenance.TITLE, lambda: provenance.make(subject)),
    ]
    left_out: list[tuple[str, str]] = []
    sections = [headline.make(subject, charted), *more, *_made(shown, left_out)]
    return Chapter(slug(subject.dataset), labels.title(subject.dataset), sections, _made(research, left_out), left_out)


_Maker = tuple[str, Callable[[], Section]]


def _made(makers: Sequence[_Maker], left_out: list[tuple[str, str]]) -> list[Section]:
    """The sections that can be made; each other one adds its title and the reason to ``left_out``."""
    sections = []
    for title, make in makers:
        try:
            sections.append(make())
        except MissingError as reason:
            text = labels.without_folders(str(reason))
            left_out.append((title, f"{text[0].upper()}{text[1:].rstrip('.')}."))
    return sections


def write(page: Page, file: Path) -> Path:
    """Write the page atomically.

    Raises:
        ReportError: the page is larger than 3 MB.
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
    """The page as text, with all data escaped."""
    from markupsafe import Markup

    back = Markup(links.markup(dict(page.comparisons)))
    return environment().get_template("page.html.j2").render(page=page, comparisons=back)


def environment() -> Environment:
    """The templates, which escape all data."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import escape

    loader = PackageLoader("sage_pl.report", "templates")
    templates = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, finalize=_visible
    )
    templates.filters["lines"] = lambda text: escape(visible(text, keep="\n"))
    templates.filters["visible"] = visible
    templates.filters["breakable"] = _breakable
    return templates


def _visible(value: object) -> object:
    """A text of the data with its unseen characters by name, before it is escaped; HTML of a macro or a filter stays."""
    return visible(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _breakable(text: str) -> str:
    """A name that may go on in the next line behind / and _, behind = and the points of a key."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"(?:(?<=[/_=])|(?<=[a-z]\.))(?=\w)", "<wbr>", escape(visible(text))))


def slug(text: str) -> str:
    """A valid id: ``c-``, then letters, digits and hyphens."""
    return "c-" + (re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "data")
