"""Frames of polars or pandas: written as a data set that every command reads, and read as histories."""

from __future__ import annotations

import hashlib
import io
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from sage_pl.artifacts.files import whole_folder
from sage_pl.artifacts.plain import read_json
from sage_pl.data.sources.frames import polars_frame
from sage_pl.data.sources.raw import DataError

log = logging.getLogger(__name__)
_EXACT = 2**53  # floats below it hold every whole number
NAMES = "columns.json"  # what the columns were called in the frame


class Columns(NamedTuple):
    """Names of a frame's columns; ``time`` is None where the order of the rows is that of the events."""

    user: str = "user_id"
    item: str = "item_id"
    time: str | None = "timestamp"


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
        DataError: a column is missing, a user or a time is null, or times are neither numbers nor dates.
    """
    table = polars_frame(frame, "the frame of histories")
    user, item, time = columns if {columns.user, columns.item} <= set(table.columns) else Columns()
    _require(table, [user, item], "the frame of histories")
    table = _plain_ids(table, dict.fromkeys([user, item]))
    if nameless := table[user].null_count():
        raise DataError(
            f"column {user} of the frame of histories is null in {nameless} of {len(table)} rows; drop them"
        )
    if time is not None and time in table.columns:
        _check_times(table[time])
        table = table.sort(time, maintain_order=True)
    table = table.select(pl.col(user).cast(pl.String).alias("user"), pl.col(item).cast(pl.String).alias("item"))
    users = table["user"].unique(maintain_order=True)
    inside = table.filter(pl.col("item").is_in(pl.Series(list(known), dtype=pl.String).implode()))
    if unknown := len(table) - len(inside):
        log.warning("%d of %d events have an item unknown to the model; they are left out", unknown, len(table))
    lists = dict(inside.group_by("user", maintain_order=True).agg("item").iter_rows())
    return Events(users.to_list(), [lists.get(name, []) for name in users])


def _check_times(times: pl.Series) -> None:
    if not times.dtype.is_numeric() and not isinstance(times.dtype, pl.Date | pl.Datetime):
        raise DataError(
            f"column {times.name} of the frame of histories is {times.dtype}, which has no order in time, wanted numbers or "
            "dates; parse it first (str.to_datetime of polars, to_datetime of pandas)"
        )
    empty = (times.fill_nan(None) if times.dtype.is_float() else times).null_count()
    if empty:
        raise DataError(
            f"column {times.name} of the frame of histories is empty in {empty} of {len(times)} rows; fill or drop them"
        )


def is_frame(value: Any) -> bool:
    """Whether a value has columns, in place of being a list of ids."""
    return isinstance(value, Mapping) or hasattr(type(value), "columns")


def _interactions(frame: pl.DataFrame, columns: Columns) -> pl.DataFrame:
    user, item, time = columns
    _require(frame, [name for name in columns if name is not None], "interactions")
    for name, standard in zip(columns, Columns(), strict=True):
        if columns.count(name) > 1:
            raise DataError(f"user=, item= and time= name the column {name} twice; name three columns")
        if name not in (None, standard) and standard in frame.columns and standard not in columns:
            raise DataError(
                f"interactions has a column {standard} beside {name}, which stands for it; drop one of them"
            )
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
    frame = _plain_ids(frame, ["item_id"])
    try:
        return frame.with_columns(pl.col("item_id").cast(kind), pl.col("title").cast(pl.String).fill_null(""))
    except pl.exceptions.PolarsError as error:
        reason = str(error).partition("\n")[0]
        raise DataError(
            f"items has ids or titles that cannot be used ({reason}); wanted item_ids as in interactions, which are {kind}, "
            "and titles as text"
        ) from error


def _plain_ids(frame: pl.DataFrame, names: Iterable[str]) -> pl.DataFrame:
    """Ids as integers or text, which is what a data set's folder may hold.

    Whole numbers in a column of floats, which pandas makes where a value is absent, are integers.
    """
    for name in names:
        ids = frame[name].fill_nan(None) if frame[name].dtype.is_float() else frame[name]
        if ids.dtype.is_nested():
            raise DataError(f"column {name} is {ids.dtype}, wanted ids that are whole numbers or text")
        whole = ids.dtype.is_float() and bool(((ids == ids.round()) & (ids.abs() < _EXACT)).all())
        if not ids.dtype.is_integer():
            ids = ids.cast(pl.Int64 if whole else pl.String)
        frame = frame.with_columns(ids.alias(name))
    return frame


def _require(frame: pl.DataFrame, names: Sequence[str], what: str) -> None:
    if missing := [name for name in names if name not in frame.columns]:
        hint = "rename the item's text to title" if missing == ["title"] else "name the columns: user=, item=, time="
        raise DataError(f"{what} has no column {missing[0]}; it has {', '.join(frame.columns)}; {hint}")


def _parquet(frame: pl.DataFrame) -> bytes:
    stream = io.BytesIO()
    frame.write_parquet(stream)
    return stream.getvalue()
