"""Events that came after the data set, from a file of the same form or of plain columns."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import polars as pl

from sage_pl.data.filters import Filter
from sage_pl.data.sources import lines
from sage_pl.data.sources.csv import CSV
from sage_pl.data.sources.layout import Layout, plain_name, separator_of, split
from sage_pl.data.sources.raw import COLUMNS, DataError, Source, clean_ids, require_columns
from sage_pl.data.sources.times import UNITS, in_exact_order, refuse_beyond, unix_times
from sage_pl.errors import MissingFileError

SCHEMA = {"user_id": pl.String(), "item_id": pl.String(), "timestamp": pl.Int64()}
_ROW = "row"  # the column that numbers rows of parquet


def read_events(source: Source, rules: Sequence[Filter], file: str | Path, key: str = "events") -> pl.DataFrame:
    """The events of a file by :data:`SCHEMA`, in its order; times are null where it has none.

    The file is parquet, delimited text or JSON lines, told apart by content. Its columns are those of the data set, with times
    in any of the forms that the data set may have; or ``user_id``, ``item_id`` and, where there are times, ``timestamp``.

    Args:
        source: of the data set.
        rules: filters of the data set. Those that say what belongs to a history and read columns are applied, to a file of
            plain columns where it has theirs.
        file: of the events.
        key: of the command line, for messages.

    Raises:
        MissingFileError: there is no such file.
        DataError: it cannot be read, lacks a column, or has an empty id or time.
    """
    path = Path(file)
    if not path.is_file():
        raise MissingFileError(f"there is no file {path}; {key}=FILE names a table of user_id, item_id (and timestamp)")
    if not hasattr(source, "like"):
        raise DataError(f"{type(source).__name__} has no method like, which reads {path}; add it (data/sources/raw.py)")
    reader, rules = source.like(path), [rule for rule in rules if rule.of_history and rule.columns]
    present = columns_of(path, reader)
    if not present.issuperset(reader.columns) and present.issuperset(COLUMNS[:2]):
        reader = CSV(path, *COLUMNS[:2], "timestamp" if "timestamp" in present else None, encoding=reader.encoding)
        rules = [rule for rule in rules if present.issuperset(rule.columns)]
    further = list(dict.fromkeys(column for rule in rules for column in rule.columns))
    frame = _of_parquet(path, reader, further) if is_parquet(path) else _of_text(path, reader, further, present)
    for rule in rules:
        frame = rule.keep(frame)
    ids = [pl.col(name).cast(pl.String) for name in COLUMNS[:2]]
    return frame.select(*ids, pl.col("timestamp").cast(pl.Int64))


def columns_of(path: Path, reader: CSV) -> set[str]:
    """The fields of a text file's first line, the keys of JSON records, or the columns of a parquet file.

    Args:
        path: of the file.
        reader: of the data set, whose columns and those of :data:`SCHEMA` show the separator.

    Raises:
        DataError: the file is empty or cannot be read.
    """
    if is_parquet(path):
        try:
            return set(pl.read_parquet_schema(path))
        except pl.exceptions.PolarsError as error:
            raise DataError(f"{path} cannot be read as parquet ({error}); write it again") from error
    layout = Layout(encoding=reader.encoding)
    line = next((line for _, line in lines.numbered_lines(path, layout.encoding)), "")
    if line.lstrip().startswith("{"):
        return {key for _, record in lines.records(path, encoding=layout.encoding) for key in record}
    separator = separator_of(path, layout, [*reader.columns, *SCHEMA])
    fields = [field.strip() for field in split(line.rstrip("\r\n"), separator)]
    return {*fields, *map(plain_name, fields)}


def _of_text(path: Path, reader: CSV, columns: Sequence[str], present: set[str]) -> pl.DataFrame:
    if present.issuperset(reader.columns) and len(list(islice(lines.numbered_lines(path, reader.encoding), 2))) < 2:
        return pl.DataFrame(schema=SCHEMA | dict.fromkeys(columns, pl.String()))  # a day without events
    frame = reader.load(*columns).interactions.collect()
    return frame if reader.time is not None else frame.with_columns(timestamp=pl.lit(None, pl.Int64))


def _of_parquet(path: Path, reader: CSV, columns: Sequence[str]) -> pl.DataFrame:
    names = dict(zip(COLUMNS, reader.columns, strict=False))
    help = f"wanted: {', '.join(reader.columns)}, or {', '.join(COLUMNS)}"
    require_columns(pl.read_parquet_schema(path), [*names.values(), *columns], str(path), help)
    try:
        table = pl.read_parquet(path, columns=list(dict.fromkeys([*names.values(), *columns])), glob=False)
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{path} cannot be read as parquet ({error}); write it again") from error
    chosen = [pl.col(name).alias(alias) for alias, name in names.items()]
    frame = table.with_row_index(_ROW, 1).select(_ROW, *chosen, *columns)
    ids = {alias: names[alias] for alias in COLUMNS[:2]}
    frame, _notes = clean_ids(frame.with_columns(pl.col(list(ids)).cast(pl.String)), ids, str(path), _ROW)
    if reader.time is None:
        return frame.with_columns(timestamp=pl.lit(None, pl.Int64))
    moments, form = frame["timestamp"], reader.time_format
    if isinstance(moments.dtype, pl.Date | pl.Datetime):
        refuse_beyond(frame.lazy(), "timestamp", str(path))
        moments, form = moments.dt.epoch("ns"), UNITS[-1]
    times = unix_times(moments.cast(pl.String).alias(names["timestamp"]), frame[_ROW], str(path), form)
    return in_exact_order(frame.with_columns(timestamp=times.seconds, nanos=times.nanos))


def is_parquet(path: Path) -> bool:
    """Whether the file begins as parquet does."""
    with path.open("rb") as stream:
        return stream.read(4) == b"PAR1"
