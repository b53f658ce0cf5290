"""A table in the layout of a paper: our values beside the paper's for the same data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sage_pl.comparison.cells import Cell, marks_of
from sage_pl.errors import SettingError

Sizes = tuple[int, int]  # users, items


class Row(NamedTuple):
    """One line: ours or the printed one."""

    labels: tuple[str, ...]
    origin: str  # ours, printed
    values: tuple[float | None, ...]
    marks: tuple[str, ...]


class PaperTable(NamedTuple):
    """Column names and lines; the first columns are the labels and the origin."""

    title: str
    source: str
    labels: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    @property
    def header(self) -> list[str]:
        return [*self.labels, "", *self.columns]

    def lines(self) -> Iterator[list[str]]:
        """Texts, values with four decimals as papers print them."""
        for row in self.rows:
            values = ["–" if value is None else f"{value:.4f}" for value in row.values]
            texts = [f"{v} {m}" if m else v for v, m in zip(values, row.marks, strict=True)]
            yield [*row.labels, row.origin, *texts]


@dataclass(frozen=True)
class Layout:
    """The layout of a paper's table, and its printed values.

    Args:
        title: of the table.
        source: of the printed figures.
        protocol: of all columns.
        columns: title of a column -> metric and group: ``{"H@10": [hr@10, overall]}``.
        data: the paper's name of a data set -> its numbers of users and items, which identify ours; where the paper prints
            none, our ``dataset.name``.
        backbones: our name -> the paper's, in its order.
        models: our method -> the paper's name.
        printed: data -> our backbone -> the paper's model -> values in the order of ``columns``, null where none is printed.
        across: data sets side by side (LLMEmb), or below each other (LLM-ESR).

    Raises:
        SettingError: a printed line lacks a value per column, or names unknown data.
    """

    title: str
    source: str
    protocol: str
    columns: Mapping[str, Sequence[str]]
    data: Mapping[str, Sequence[int] | str]
    backbones: Mapping[str, str]
    models: Mapping[str, str]
    printed: Mapping[str, Mapping[str, Mapping[str, Sequence[float | None]]]]
    across: bool = True

    def __post_init__(self) -> None:
        for data, backbones in self.printed.items():
            if data not in self.data:
                raise SettingError(f"{self.title} prints {data}, which data lacks; add users and items, or a name")
            for backbone, models in backbones.items():
                for model, values in models.items():
                    if len(values) != len(self.columns):
                        raise SettingError(
                            f"{self.title} prints {len(values)} values of {model} ({backbone}, {data}), wanted one for each "
                            f"of {', '.join(self.columns)}"
                        )

    def fill(self, cells: Mapping[str, Sequence[Cell]], sizes: Mapping[str, Sizes]) -> PaperTable:
        """The table for our data sets.

        Args:
            cells: our data set -> its cells, of systems named ``method/backbone``.
            sizes: our data set -> its numbers of users and items.
        """
        names = {ours: self._paper_name(ours, size) or ours for ours, size in sizes.items()}
        blocks = [_Block(self, names[ours], cells[ours]) for ours in names]
        if self.across:
            columns = tuple(f"{block.name} {column}" for block in blocks for column in self.columns)
            rows = tuple(self._rows(blocks, ()))
            return PaperTable(self.title, self.source, ("Backbone", "Model"), columns, rows)
        rows = tuple(row for block in blocks for row in self._rows([block], (block.name,)))
        return PaperTable(self.title, self.source, ("Dataset", "Backbone", "Model"), tuple(self.columns), rows)

    def _paper_name(self, ours: str, size: Sizes) -> str | None:
        return next((name for name, data in self.data.items() if data == ours or tuple(data) == tuple(size)), None)

    def _rows(self, blocks: Sequence[_Block], first: tuple[str, ...]) -> Iterator[Row]:
        """Lines of data sets side by side: by backbone, then the paper's models, then further ones."""
        empty = [(None, "")] * len(self.columns)
        for backbone in dict.fromkeys([*self.backbones, *(b for block in blocks for b, _ in block.ours)]):
            models = [m for block in blocks for b, m in [*block.printed, *block.ours] if b == backbone]
            for model in dict.fromkeys(models):
                for origin in ("ours", "printed"):
                    sides = [getattr(block, origin).get((backbone, model)) for block in blocks]
                    if any(sides):
                        values, marks = zip(*(pair for side in sides for pair in side or empty), strict=True)
                        yield Row((*first, self.backbones.get(backbone, backbone), model), origin, values, marks)


class _Block:
    """One data set's part: (our backbone, the paper's model) -> value and mark of each column."""

    def __init__(self, layout: Layout, name: str, cells: Sequence[Cell]) -> None:
        self.name = name
        self.printed: dict[tuple[str, str], list[tuple[float | None, str]]] = {
            (backbone, model): [(value, "") for value in values]
            for backbone, models in layout.printed.get(name, {}).items()
            for model, values in models.items()
        }
        by_system: dict[str, dict[tuple[str, str], Cell]] = {}
        for cell in cells:
            if cell.protocol == layout.protocol:
                by_system.setdefault(cell.system, {})[cell.metric, cell.group] = cell
        self.ours: dict[tuple[str, str], list[tuple[float | None, str]]] = {}
        for system, values in by_system.items():
            method, _, backbone = system.partition("/")
            row = [_value(values.get((metric, group))) for metric, group in layout.columns.values()]
            self.ours[backbone, layout.models.get(method, method)] = row


def _value(cell: Cell | None) -> tuple[float | None, str]:
    if cell is None:
        return None, ""
    marks = [cell.against.mark if cell.against else "", *marks_of(cell.converged, cell.refit)]
    return cell.mean, " ".join(filter(None, marks))
