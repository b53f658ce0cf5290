"""What sections are made of: plain values that ``templates/blocks.html.j2`` turns into HTML, one macro per class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from sage_pl.errors import UserError
from sage_pl.report.charts import Chart


class MissingError(UserError, LookupError):
    """What a section shows is not there; the message is the one sentence that stands in its place."""


class Value(NamedTuple):
    """One cell of a table.

    Args:
        text: what is read.
        sort: what the column is sorted by, if not the text.
        note: a second, smaller line.
        mark: a sign beside the text; explained by the table's caption.
        tone: ``muted``, ``better`` or ``worse``; never the only sign of anything.
    """

    text: str
    sort: float | None = None
    note: str = ""
    mark: str = ""
    tone: str = ""


class Column(NamedTuple):
    """Head of a column; ``note`` is its second line, such as a group's size."""

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
    """Charts that belong together, with what is seen in them, and where possible the same as a table.

    Args:
        title: what is shown.
        caption: how to read it.
        charts: side by side where there is room.
        legend: style class -> name.
        table: the same numbers, folded away.
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
    """Text to copy; folded away under ``summary`` if that is given."""

    text: str
    label: str
    summary: str = ""


class Line(NamedTuple):
    """An item in a list of items: its title, how often it occurs in training, whether it is the answer."""

    title: str
    events: int
    hit: bool = False


class Recommended(NamedTuple):
    """What a system recommends to a user, and the rank it gives to the answer."""

    system: str
    rank: int
    items: Sequence[Line]


@dataclass(frozen=True)
class Example:
    """A user: what came before, what came next, and what each system recommended."""

    user: str
    earlier: int
    history: Sequence[Line]
    answer: Line
    lists: Sequence[Recommended]


@dataclass(frozen=True)
class Examples:
    """Users of one kind, and how common that kind is."""

    title: str
    share: str
    examples: Sequence[Example]


Block = Table | Figure | Prose | Facts | Code | Examples


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading of its own."""

    name: str
    title: str
    blocks: Sequence[Block]
