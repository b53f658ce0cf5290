"""The text of every item, joined from the data set's text columns."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import polars as pl

from sage_pl.artifacts.store import Artifact
from sage_pl.errors import SettingError
from sage_pl.ranges import Count

log = logging.getLogger(__name__)

NO_TEXT = "unknown"
SEPARATOR = ". "  # between the attributes of an item


@dataclass(frozen=True)
class Texts:
    """One prompt per item: ``<title>. <label>: <value>. <label>: <value>``.

    Lists are joined by commas, white space is collapsed, and missing values are left out. An item without text becomes
    "unknown" (and is counted in a warning), so that every item has a vector. A column without any value gets a warning.

    Args:
        columns: of the data set's items table, in the order of the text; None for all its columns of text.
        labels: prefix of each column's value, "" for none; by default the column's name, and none for ``title``.
        max_chars: most characters of a text (2,048 per sentence in the reference).

    Writes:
        ``texts.parquet``: item (1..N), text.

    Raises:
        SettingError: the data set has no text, or lacks one of the columns.

    Reference: SAGE code line, prompt notebooks. Differs: they embed one fixed sentence per data set, with "unknown" for every
    missing attribute; their Yelp prompts contain review counts and mean stars of the crawl, which leak the future.
    """

    columns: tuple[str, ...] | None
    labels: Mapping[str, str] | None = None
    max_chars: Count = 2000

    name: ClassVar[str] = "texts"
    version: ClassVar[int] = 1
    inputs: ClassVar[tuple[str, ...]] = ("sequences",)
    libraries: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", None if self.columns is None else tuple(self.columns))
        object.__setattr__(self, "labels", dict(self.labels or {}))
        if self.max_chars < 1:
            raise SettingError(f"steps.texts.max_chars is {self.max_chars}, wanted at least 1")

    def run(self, inputs: Mapping[str, Artifact], out: Path) -> None:
        items = inputs["sequences"].frame("items").sort("item")
        texts = items.select("item", self.of(items))
        columns = self.columns or text_columns(items)
        pieces = attributes(items, columns, self.labels)
        filled = items.select(piece.is_not_null().any().alias(str(place)) for place, piece in enumerate(pieces)).row(0)
        if absent := [name for name, some in zip(columns, filled, strict=True) if not some]:
            log.warning("no item has a value of %s, so no text has it either (steps.texts.columns)", ", ".join(absent))
        empty = texts.filter(pl.col("text") == "").height
        if empty:
            log.warning("%d of %d items have no text in %s; they become %r", empty, len(texts), columns, NO_TEXT)
        texts.with_columns(pl.col("text").replace("", NO_TEXT)).write_parquet(out / "texts.parquet")

    def of(self, items: pl.DataFrame) -> pl.Series:
        """The text of each row of an items table, "" where there is none.

        Raises:
            SettingError: the table lacks one of the columns.
        """
        columns = text_columns(items) if self.columns is None else self.columns
        check_columns(items, columns, "steps.texts.columns")
        pieces = attributes(items, columns, self.labels)
        text = pl.concat_str(pieces, separator=SEPARATOR, ignore_nulls=True).str.head(self.max_chars)
        return items.select(text.alias("text"))["text"]


def item_texts(texts: Artifact) -> list[str]:
    """The texts of items 1..N that :class:`Texts` wrote."""
    return texts.frame("texts").sort("item")["text"].to_list()


def each_once(texts: Sequence[str]) -> tuple[npt.NDArray[np.object_], npt.NDArray[np.intp]]:
    """The distinct texts, and for each text its position among them."""
    return np.unique(np.asarray(texts, dtype=object), return_inverse=True)


def text_columns(items: pl.DataFrame) -> list[str]:
    """The columns of an items table that hold texts or lists of texts."""
    kinds = (pl.String, pl.List(pl.String))
    return [name for name, kind in items.schema.items() if kind in kinds and name not in ("item", "item_id")]


def check_columns(items: pl.DataFrame, columns: Sequence[str], key: str) -> None:
    """Check that there are columns and that the items table has them.

    Args:
        key: the option of the columns, for the message.

    Raises:
        SettingError: the data set has no text or lacks a column, or ``columns`` is empty.
    """
    existing = [name for name in items.columns if name not in ("item", "item_id")]
    if not existing:
        raise SettingError(
            "the data set has no item text; use embedder=cooccurrence, or method=plain, which needs none"
        )
    missing = [name for name in columns if name not in existing]
    if missing or not columns:
        problem = f"has no column {', '.join(missing)}" if missing else "has text, but no column is chosen"
        raise SettingError(f"the items table {problem}; set {key} to some of: {', '.join(existing)}")


def attributes(items: pl.DataFrame, columns: Sequence[str], labels: Mapping[str, str] | None) -> list[pl.Expr]:
    """For each column the labelled text of every item; null without text."""
    return [_attribute(column, items.schema[column], labels or {}) for column in columns]


def _attribute(column: str, kind: object, labels: Mapping[str, str]) -> pl.Expr:
    value = pl.col(column)
    if isinstance(kind, pl.List):
        value = value.list.eval(_tidy(pl.element())).list.drop_nulls().list.join(", ")
    label = labels.get(column, "" if column == "title" else column.replace("_", " "))
    prefix = f"{label}: " if label else ""
    return pl.lit(prefix) + _tidy(value)


def _tidy(value: pl.Expr) -> pl.Expr:
    """Text with white space collapsed to single blanks; null where it is empty."""
    text = value.cast(pl.String).str.replace_all(r"\s+", " ").str.strip_chars(" ")
    return pl.when(text != "").then(text)
