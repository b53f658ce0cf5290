"""A comparison on the terminal: the main table of each data set and protocol."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from sage_pl.comparison.files import LEGEND, Comparison, Table, layout
from sage_pl.escaping import visible

if TYPE_CHECKING:
    from rich.table import Table as Grid

_WIDTH = 160  # of lines where there is no terminal


def show(comparison: Comparison) -> None:
    """Print the first family of groups of every data set and protocol, as ``comparison.md`` has it, and the legend."""
    from rich.console import Console
    from rich.text import Text

    console = Console() if sys.stdout.isatty() else Console(width=_WIDTH)
    for section in comparison.sections:
        first = section.tables[0].title
        for table in section.tables:
            if table.title == first:
                console.print(_grid(section.dataset, table))
        for line in section.floors:
            console.print(Text(visible(line)))
    console.print(Text(LEGEND.replace("`", ""), style="dim"))


def _grid(dataset: str, table: Table) -> Grid:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table as Grid  # imported where it prints
    from rich.text import Text

    header, lines = layout(table)
    title = Text(visible(f"{dataset}, {table.protocol}, in %"))
    grid = Grid(title=title, box=SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    for place, (name, size) in enumerate(header):
        words = "\n".join([*(visible(word) for word in name.split("_", 1)), visible(size)])
        grid.add_column(Text(words), justify="right" if place > 1 else "left", overflow="fold", no_wrap=place != 1)
    for before, line in zip([lines[0], *lines], lines, strict=False):
        if before[0] != line[0]:
            grid.add_section()
        grid.add_row(*(Text(visible(cell)) for cell in line))
    return grid
