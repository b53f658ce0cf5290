"""Columns of a text file as a table: delimited text of any layout, or one JSON record per line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from sage_pl.data.sources import lines
from sage_pl.data.sources.layout import QUOTE, Layout, plain_name, separator_of, split
from sage_pl.data.sources.lines import AUTO
from sage_pl.data.sources.raw import DataError, require_columns
from sage_pl.data.sources.rows import LayoutError, Row, of_width, plain_rows, quoted_rows
from sage_pl.data.sources.simple import read_simple
from sage_pl.data.sources.texts import texts

LINE = "line"  # the column that numbers lines


class Table(NamedTuple):
    """``frame`` has one text column per name that was asked for ('' where there is no value) and :data:`LINE`."""

    frame: pl.DataFrame
    notes: list[str]


def read_table(path: Path, names: Sequence[str], layout: Layout, help: str, titles: Sequence[str] = ()) -> Table:
    """Some columns of a text file, every row of it.

    Simple files are read by polars (:mod:`sage_pl.data.sources.simple`), all others by Python's csv module, row by row. Where
    ``layout.quote`` is ``auto`` and the file breaks the rules of quotes, while without them each line has as many fields as
    the first, quotes are text.

    Args:
        path: the file.
        names: of the columns: names in the header, or numbers from 1 of a file without one.
        layout: what is known of the file.
        help: ends the message about a missing column.
        titles: those of ``names`` that are texts, of which JSON may hold lists and halves of surrogate pairs.

    Raises:
        DataError: the file is empty, lacks a column, or has a row of another width; the message names its line.
    """
    names = list(dict.fromkeys(names))
    _number, line = next(lines.numbered_lines(path, layout.encoding), (0, ""))
    if line.lstrip().startswith("["):
        raise DataError(f"{path} is one JSON list, wanted one record per line: jq -c '.[]' {path.name} > lines.jsonl")
    if line.lstrip().startswith("{"):
        return _of_records(path, names, titles, layout.encoding, help)
    separator = separator_of(path, layout, names)
    fields = [field.strip() for field in split(line.rstrip("\r\n"), separator)]
    columns, header = _columns(path, names, fields, layout, help)
    notes = [f"{path.name}: fields separated by {separator!r}"] if separator != "," and layout.separator == AUTO else []
    places = [columns.index(name) for name in names]
    simple = read_simple(path, separator, len(fields), places, layout)
    if simple is not None:
        numbered = simple.select(pl.int_range(1, pl.len() + 1, dtype=pl.UInt32).alias(LINE), pl.all())
        chosen = [pl.col(str(place)).alias(name) for place, name in zip(places, names, strict=True)]
        return Table(numbered.select(LINE, *chosen).slice(int(header)), notes)
    rows = _Rows(path, separator, len(fields), names, places, header)
    frame, note = rows.read(layout)
    return Table(frame, notes + note)


def _columns(path: Path, names: Sequence[str], fields: list[str], layout: Layout, help: str) -> tuple[list[str], bool]:
    """The columns' names, and whether the first row holds them; without a header they are numbers from 1."""
    columns = fields if all(name in fields for name in names) else [plain_name(field) for field in fields]
    by_number = all(name.isdecimal() for name in names) and not all(name in columns for name in names)
    header = bool(layout.header) if layout.header != AUTO else not by_number
    where = str(path)
    if not header:
        columns = [str(number) for number in range(1, len(fields) + 1)]
        where += " (without a header)"
    if len(fields) == 1:
        other = separator_of(path, Layout(encoding=layout.encoding), names)
        help += f"; all of a line is one field here, and dataset.separator=auto would split it at {other!r}"
    elif header and any(field[:1].isdigit() for field in fields):
        help += "; in a file without a header, columns are named by number, for example dataset.user=1"
    require_columns(columns, names, where, help)
    for name in names:
        if columns.count(name) > 1:
            raise DataError(f"{path} has {columns.count(name)} columns {name}, wanted one; rename the others")
    return columns, header


@dataclass(frozen=True)
class _Rows:
    """Rows with ``width`` fields, of which those at ``places`` are read as the columns ``names``."""

    path: Path
    separator: str
    width: int
    names: Sequence[str]
    places: Sequence[int]
    header: bool

    def read(self, layout: Layout) -> tuple[pl.DataFrame, list[str]]:
        """The rows as a table, and a note where quotes are text in spite of some that look like quotes."""
        quote = QUOTE if layout.quote == AUTO else layout.quote
        if quote is None or len(self.separator) > 1:
            return self._frame(plain_rows(self.path, layout.encoding, self.separator, quote)), []
        careful = layout.quote == AUTO
        try:
            return self._frame(quoted_rows(self.path, layout.encoding, self.separator, quote, careful)), []
        except LayoutError as error:
            if not careful:
                raise
            try:
                frame = self._frame(plain_rows(self.path, layout.encoding, self.separator, quote))
            except LayoutError:
                raise error from None
            return frame, [f"{self.path.name}: each line is a row, and stray quotes are text"]

    def _frame(self, rows: Iterator[Row]) -> pl.DataFrame:
        checked = of_width(rows, self.width, self.path, self.separator)
        if self.header:
            next(checked, None)
        schema = {LINE: pl.UInt32} | {name: pl.String() for name in self.names}
        return lines.frame_of(((number, *(row[place] for place in self.places)) for number, row in checked), schema)


def _of_records(path: Path, names: Sequence[str], titles: Sequence[str], encoding: str, help: str) -> Table:
    """Columns of JSON records; a field that a record lacks is ''."""
    columns: dict[str, None] = {}

    def rows() -> Iterator[tuple[Any, ...]]:
        for number, record in lines.records(path, json.loads, encoding):
            columns.update(dict.fromkeys(record))
            yield (
                number,
                *(
                    ", ".join(texts(record.get(name))) if name in titles else lines.cell(record, name, path, number)
                    for name in names
                ),
            )

    schema = {LINE: pl.UInt32} | {name: pl.String() for name in names}
    frame = lines.frame_of(rows(), schema)
    require_columns(columns, names, str(path), help)
    return Table(frame, [])
