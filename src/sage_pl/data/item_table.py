"""The table of numbered items with their texts."""

from __future__ import annotations

import logging

import polars as pl

log = logging.getLogger(__name__)


def numbered(name: str, ids: pl.Series) -> pl.DataFrame:
    """Ids beside their numbers 1, 2, ... in a column ``name``."""
    return ids.to_frame().select(pl.int_range(1, pl.len() + 1, dtype=pl.Int64).alias(name), pl.all())


def described(item_ids: pl.Series, texts: pl.DataFrame | None) -> pl.DataFrame:
    """One row per item in the order of ``item_ids``; items absent from ``texts`` get an empty title and empty lists."""
    table = numbered("item", item_ids)
    if texts is None:
        return table
    if unknown := int((~item_ids.is_in(texts["item_id"].implode())).sum()):
        log.warning("%d of %d items are not in the item table; they get an empty text", unknown, len(item_ids))
    table = table.join(texts, on="item_id", how="left", maintain_order="left")
    lists = [name for name, kind in table.schema.items() if isinstance(kind, pl.List)]
    return table.with_columns(pl.col("title").fill_null(""), pl.col(lists).fill_null([]))


def without_events(table: pl.DataFrame | None, bought: pl.Series) -> pl.Series:
    """Ids of the items of the table that have a text and are not in ``bought``, in its order; none without a table."""
    if table is None:
        return bought.clear()
    kinds = {name: kind for name, kind in table.schema.items() if name != "item_id"}
    texts = [pl.col(name).str.strip_chars() != "" for name, kind in kinds.items() if kind == pl.String]
    texts += [pl.col(name).list.len() > 0 for name, kind in kinds.items() if isinstance(kind, pl.List)]
    spoken = table.filter(pl.any_horizontal(text.fill_null(False) for text in texts))["item_id"]
    return spoken.filter(~spoken.is_in(bought.implode()))
