"""Item texts as every reader gives them."""

from __future__ import annotations

import html
import re
from typing import Any

import polars as pl

_HALF_PAIR = re.compile("[\ud800-\udfff]")
ENTITY = r"&#?\w+;"


def tidy(text: str) -> str:
    """The text with HTML entities resolved, runs of white space collapsed and lone surrogates replaced by U+FFFD.

    >>> tidy(" Tea &amp;  more ")
    'Tea & more'
    """
    return " ".join(html.unescape(_HALF_PAIR.sub("\ufffd", text)).split())


def texts(value: Any) -> list[str]:
    """The tidy texts of a field: one of a scalar, several of a list, however deep, none where there is no text."""
    parts, stack = [], [value]
    while stack:
        part = stack.pop()
        if isinstance(part, list):
            stack += reversed(part)
        elif isinstance(part, str | int | float) and (text := tidy(str(part))):
            parts.append(text)
    return parts


def first_texts(table: pl.DataFrame) -> pl.DataFrame:
    """One row per ``item_id`` in order of first row: the first non-blank text of each other column, tidy; '' without one."""
    columns = [name for name in table.columns if name != "item_id"]
    first = [pl.col(name).filter(pl.col(name).str.strip_chars() != "").first().fill_null("") for name in columns]
    items = table.group_by("item_id", maintain_order=True).agg(first)
    return items.with_columns(pl.Series(name, [tidy(text) for text in items[name]], pl.String) for name in columns)


def resolve_entities(items: pl.DataFrame) -> pl.DataFrame:
    """The table with HTML entities resolved in its texts and lists of texts; a table without entities is returned as it is."""
    for name in entity_columns(items):
        values = [_resolved(value) for value in items[name].to_list()]
        items = items.with_columns(pl.Series(name, values, dtype=items.schema[name]))
    return items


def entity_columns(items: pl.DataFrame) -> list[str]:
    """The names of the columns with an HTML entity in a text."""
    columns = []
    for name, kind in items.schema.items():
        if name != "item_id" and kind in (pl.String, pl.List(pl.String)):
            values = items[name].explode() if kind != pl.String else items[name]
            if values.str.contains(ENTITY).any():
                columns.append(name)
    return columns


def _resolved(value: Any) -> Any:
    return [_resolved(part) for part in value] if isinstance(value, list) else html.unescape(value) if value else value
