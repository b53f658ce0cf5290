"""The parts of a section: plain values that ``templates/blocks.html.j2`` turns into HTML, one macro per class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from sage_pl.errors import UserError
from sage_pl.report.charts import Chart


class MissingError(UserError, LookupError):
    """The data of a section is missing; the message is the sentence that replaces the section."""


class Value(NamedTuple):
    """One cell of a table.

    Args:
        text: of the cell.
        sort: key of the column's sort order, if not the text.
        note: a second, smaller line.
        mark: a sign beside the text; the table's caption explains it.
        tone: ``muted``, ``better`` or ``worse``; a colour, always beside another sign.
    """

    text: str
    sort: float | None = None
    note: str = ""
    mark: str = ""
    tone: str = ""


class Column(NamedTuple):
    """Head of a column; ``note``: its second line, such as a group's size."""

    label: str
    numeric: bool = False
    note: str = ""


@dataclass(frozen=True)
class Table:
    """Rows whose first cell names the row; sortable by any column in a browser."""

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Value]]


@dataclass(frozen=True)
class Figure:
    """Charts that belong together, with a caption and where possible a table of their values.

    Args:
        title: of the figure.
        caption: how to read it.
        charts: side by side where there is room.
        legend: style class -> name.
        table: the same numbers, collapsed.
    """

    title: str
    caption: str
    charts: Sequence[Chart]
    legend: Mapping[str, str] = field(default_factory=dict)
    table: Table | None = None


@dataclass(frozen=True)
class Prose:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Facts:
    """Labelled values: label -> (value, note)."""

    facts: Mapping[str, tuple[str, str]]
    large: bool = False


@dataclass(frozen=True)
class Code:
    """Text to copy; collapsed under ``summary``, if set."""

    text: str
    label: str
    summary: str = ""


class Line(NamedTuple):
    """An item of a list: title, training events, whether it is the answer, whether the history holds it."""

    title: str
    events: int
    hit: bool = False
    seen: bool = False


class RecommendedList(NamedTuple):
    """A system's recommendations to a user, and the rank of the answer."""

    system: str
    rank: int
    items: Sequence[Line]


@dataclass(frozen=True)
class Example:
    """A user: the last items of the history, the answer, and each system's recommendations."""

    user: str
    earlier: int  # items of the history before these
    history: Sequence[Line]
    answer: Line
    lists: Sequence[RecommendedList]


@dataclass(frozen=True)
class Examples:
    """Users of one kind, and the share of the kind."""

    title: str
    share: str
    examples: Sequence[Example]


@dataclass(frozen=True)
class Links:
    """Addresses of other pages, relative to this one: name -> (address, note)."""

    links: Mapping[str, tuple[str, str]]


@dataclass(frozen=True)
class Names:
    """Names of the points of all maps of a section, by a point's number (:attr:`Chart.points`)."""

    names: Sequence[str]


@dataclass(frozen=True)
class SideBySide:
    """A figure and a table of the same numbers: beside each other where there is room."""

    figure: Figure
    table: Table


@dataclass(frozen=True)
class Folded:
    """Blocks that open on demand."""

    title: str
    blocks: Sequence[Block]


Block = Table | Figure | Prose | Facts | Code | Examples | Links | Names | SideBySide | Folded


@dataclass(frozen=True)
class Section:
    """A part of the page with its own heading."""

    name: str
    title: str
    blocks: Sequence[Block]


class Verdict(NamedTuple):
    """The result in a word and a sentence.

    Args:
        word: ``better``, ``worse``, ``unclear`` or ``not converged``.
        text: the difference that it stands for.
        place: the data set, on a page with several.
    """

    word: str
    text: str
    place: str = ""
