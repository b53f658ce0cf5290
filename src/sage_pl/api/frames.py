"""Frames of polars or pandas: written as a data set that every command reads, and read as histories."""

from __future__ import annotations

import hashlib
import io
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from sage_pl.artifacts.files import whole_folder
from sage_pl.artifacts.plain import read_json
from sage_pl.data.sources.raw import DataError

log = logging.getLogger(__name__)
NAMES = "columns.json"  # what the columns were called in the frame


class Columns(NamedTuple):
    """Names of a frame's columns; ``time`` is None where the order of the rows is that of the events."""

    user: str = "user_id"
    item: str = "item_id"
    time: str | None = "timestamp"


def polars_frame(frame: Any, what: str) -> pl.DataFrame:
    """A frame of polars, pandas or Arrow, or a mapping of columns, as one of polars.

    Raises:
        DataError: it is none.
    """
    try:
        return frame.collect() if isinstance(frame, pl.LazyFrame) else pl.DataFrame(frame)
    except (TypeError, ValueError, ImportError, pl.exceptions.PolarsError) as error:
        raise DataError(
            f"{what} is a {type(frame).__name__}, wanted a frame of polars, pandas or Arrow ({error})"
        ) from error


def write_dataset(interactions: Any, items: Any, columns: Columns, folder: Path) -> Path:
    """Write frames as a folder that ``dataset=folder`` reads, named by its content; equal frames are written once.

    Args:
        interactions: one row for each event; further columns are for filters.
        items: ``item_id`` (or the name that interactions give it), ``title``, and any other text columns; None for no text.
        columns: names of the frame's columns.
        folder: that of all data sets which came from frames.

    Returns:
        the data set's folder.

    Raises:
        DataError: a column is missing, or times are neither whole numbers nor dates.
    """
    tables = {"interactions": _interactions(polars_frame(interactions, "interactions"), columns)}
    if items is not None:
        tables["items"] = _items(polars_frame(items, "items"), columns.item, tables["interactions"]["item_id"].dtype)
    files = {f"{name}.parquet": _parquet(table) for name, table in tables.items()}
    files[NAMES] = json.dumps(columns._asdict()).encode()
    total = hashlib.sha256()
    for content in files.values():
        total.update(content)
    final = folder / total.hexdigest()[:16]
    if not final.exists():
        with whole_folder(final) as work:
            for name, content in files.items():
                (work / name).write_bytes(content)
    return final


def columns_of(dataset: Mapping[str, Any]) -> Columns:
    """The names that a data set's events have in frames and files of the user's.

    Args:
        dataset: node of a configuration, resolved.
    """
    if {"user", "item", "time"} <= dataset.keys():
        return Columns(*(None if dataset[key] is None else str(dataset[key]) for key in Columns._fields))  # type: ignore[arg-type]
    file = Path(str(dataset.get("path", ""))) / NAMES
    return Columns(**read_json(file)) if file.is_file() else Columns()


class Events(NamedTuple):
    """Histories of a frame, oldest item first, by user in the order of the rows."""

    users: list[str]
    histories: list[list[str]]


def events_of(frame: Any, columns: Columns, known: Mapping[str, int]) -> Events:
    """The histories of a frame; events of items that the model does not know are left out and counted in a warning.

    Args:
        frame: with the data set's own columns, or ``user_id``, ``item_id`` and, where there are times, ``timestamp``.
        columns: of the data set.
        known: items of the model.

    Raises:
        DataError: a column is missing.
    """
    table = polars_frame(frame, "the frame of histories")
    user, item, time = columns if {columns.user, columns.item} <= set(table.columns) else Columns()
    _require(table, [user, item], "the frame of histories")
    if time is not None and time in table.columns:
        table = table.sort(time, maintain_order=True)
    table = table.select(pl.col(user).cast(pl.String).alias("user"), pl.col(item).cast(pl.String).alias("item"))
    users = table["user"].unique(maintain_order=True)
    inside = table.filter(pl.col("item").is_in(pl.Series(list(known), dtype=pl.String).implode()))
    if unknown := len(table) - len(inside):
        log.warning("%d of %d events have an item unknown to the model; they are left out", unknown, len(table))
    lists = dict(inside.group_by("user", maintain_order=True).agg("item").iter_rows())
    return Events(users.to_list(), [lists.get(name, []) for name in users])


def _interactions(frame: pl.DataFrame, columns: Columns) -> pl.DataFrame:
    user, item, time = columns
    _require(frame, [name for name in columns if name is not None], "interactions")
    frame = _plain_ids(frame.rename({user: "user_id", item: "item_id"}), ["user_id", "item_id"])
    if time is None:
        return frame.with_columns(timestamp=pl.int_range(pl.len(), dtype=pl.Int64).over("user_id"))
    if not frame[time].dtype.is_integer() and not isinstance(frame[time].dtype, pl.Date | pl.Datetime):
        raise DataError(
            f"column {time} of interactions is {frame[time].dtype}, wanted whole numbers or dates; parse it first "
            "(str.to_datetime of polars, to_datetime of pandas), or give time=None for the order of the rows"
        )
    return frame.rename({time: "timestamp"})


def _items(frame: pl.DataFrame, item: str, kind: pl.DataType) -> pl.DataFrame:
    if "item_id" not in frame.columns and item in frame.columns:
        frame = frame.rename({item: "item_id"})
    _require(frame, ["item_id", "title"], "items")
    return _plain_ids(frame, ["item_id"]).with_columns(pl.col("item_id").cast(kind), pl.col("title").fill_null(""))


def _plain_ids(frame: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Ids as integers or text, which is what a data set's folder may hold."""
    return frame.with_columns(pl.col(name).cast(pl.String) for name in names if not frame[name].dtype.is_integer())


def _require(frame: pl.DataFrame, names: Sequence[str], what: str) -> None:
    if missing := [name for name in names if name not in frame.columns]:
        hint = "rename the item's text to title" if missing == ["title"] else "name the columns: user=, item=, time="
        raise DataError(f"{what} has no column {missing[0]}; it has {', '.join(frame.columns)}; {hint}")


def _parquet(frame: pl.DataFrame) -> bytes:
    stream = io.BytesIO()
    frame.write_parquet(stream)
    return stream.getvalue()
