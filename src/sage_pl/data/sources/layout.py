"""How the rows of a delimited file are written: separator, quotes, header."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from sage_pl.data.sources.lines import AUTO, numbered_lines
from sage_pl.data.sources.raw import DataError
from sage_pl.data.sources.rows import BLANKS
from sage_pl.errors import SettingError

QUOTE = '"'
SAMPLE = 100  # lines that show the separator
_NAMES = {
    "tab": "\t",
    "\\t": "\t",
    "comma": ",",
    "semicolon": ";",
    "pipe": "|",
    "space": " ",
    "blanks": BLANKS,
    "": AUTO,
}
_CANDIDATES = ("\t", ",", ";", "|", "::", " ", BLANKS)
_TYPES = ("token", "token_seq", "float", "float_seq")  # of RecBole's atomic files


@dataclass(frozen=True)
class Layout:
    """What is known of a file's layout; ``auto`` is found in the file.

    Args:
        separator: between fields: characters, ``\\s+`` for runs of white space, or a name: tab, comma, semicolon, pipe, space.
        quote: one character around fields; None: quotes are text.
        header: whether the first line names the columns; without one, columns are numbered from 1.
        encoding: of a file without a byte order mark.

    Raises:
        SettingError: ``quote`` is not one character, or ``header`` is neither true, false nor auto.
    """

    separator: str | None = AUTO
    quote: str | None = AUTO
    header: bool | str = AUTO
    encoding: str = AUTO

    def __post_init__(self) -> None:
        separator = AUTO if self.separator is None else str(self.separator)
        object.__setattr__(self, "separator", _NAMES.get(separator, separator))
        if self.quote not in (None, AUTO) and len(str(self.quote)) != 1:
            raise SettingError(f"dataset.quote is {self.quote!r}, wanted one character, null or auto")
        if self.header not in (True, False, AUTO):
            raise SettingError(f"dataset.header is {self.header!r}, wanted true, false or auto")


def separator_of(path: Path, layout: Layout, names: Sequence[str]) -> str:
    """The separator given, or the one of the file's first lines.

    Found is the candidate whose header has most of the columns ``names``; among equals the one that gives most lines as many
    fields as the first, then the one that gives most fields.

    Raises:
        DataError: the file is empty.
    """
    lines = [line.rstrip("\r\n") for _, line in islice(numbered_lines(path, layout.encoding), SAMPLE)]
    if not lines:
        raise DataError(f"{path} is empty; wanted a header line and one interaction per line")
    if layout.separator != AUTO:
        return str(layout.separator)

    def score(separator: str) -> tuple[int, bool, float, int]:
        if separator == " " and any("  " in line.strip() for line in lines):
            return 0, False, 0.0, 0  # runs of blanks, which the next candidate takes
        widths = [len(split(line, separator)) for line in lines]
        header = [plain_name(field) for field in split(lines[0], separator)]
        named = sum(name in header or (name.isdecimal() and int(name) <= widths[0]) for name in names)
        alike = sum(width == widths[0] for width in widths) / len(widths)
        return named, widths[0] > 1, alike, widths[0]

    return max(_CANDIDATES, key=score)


def split(line: str, separator: str) -> list[str]:
    """The fields of one line; quotes count where the separator is one character."""
    if separator == BLANKS:
        return line.split()
    if len(separator) > 1:
        return line.split(separator)
    try:
        return next(csv.reader([line], delimiter=separator), [])
    except csv.Error:  # a field longer than the module takes
        return line.split(separator)


def plain_name(field: str) -> str:
    """A column's name without blanks and without the type that RecBole's files append to it.

    >>> plain_name("item_id:token"), plain_name(" title ")
    ('item_id', 'title')
    """
    name, colon, kind = field.strip().rpartition(":")
    return name if colon and kind in _TYPES else field.strip()
