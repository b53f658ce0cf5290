"""Parquet tables in one file or in parts, as Spark, Ray Data, DuckDB and polars write them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import polars as pl

from sage_pl.data.sources.raw import DataError

_WILD = "*?"


def parts_of(path: Path, without: Iterable[str] = ()) -> dict[str, Path]:
    """The files of a table by their path below it, in the order of these.

    Args:
        path: a file, a folder of ``*.parquet`` at any depth, or a pattern of such files with ``*``, ``?`` or ``**``. Files and
            folders that begin with ``_`` or ``.`` are none of the table, as with Spark.
        without: names of files that are none of the table.

    Returns:
        The file under its own name, or the parts; empty where there is none.
    """
    if path.is_file():
        return {path.name: path}
    base, pattern = (path, "**/*.parquet") if path.is_dir() else split(path)
    if pattern is None:
        return {}
    files = (file for file in base.glob(pattern.replace("[", "[[]")) if file.name not in without and file.is_file())
    names = {file.relative_to(base): file for file in files}
    return {str(name): names[name] for name in sorted(names) if not any(part[0] in "_." for part in name.parts)}


def split(path: Path) -> tuple[Path, str | None]:
    """The folder before the first sign of a pattern, and the pattern; None for a path without any."""
    for at, part in enumerate(path.parts):
        if set(part) & set(_WILD):
            return Path(*path.parts[:at]), str(Path(*path.parts[at:]))
    return path.parent, None


def scan(files: Sequence[Path], columns: Sequence[str] = ()) -> pl.LazyFrame:
    """The rows of all parts in turn; of several, folders named ``key=value`` give the column ``key``.

    Args:
        files: parts of one table.
        columns: those that are read; all parts must have them in one type, or none where folders give them.

    Raises:
        DataError: a file is empty or no parquet file, or two parts differ in a column.
    """
    first, *others = files
    schema = _schema(first)
    if not others:
        return pl.scan_parquet(first, glob=False)
    for file in others:
        types = _schema(file)
        if wrong := next((name for name in columns if types.get(name) != schema.get(name)), None):
            raise DataError(
                f"column {wrong} is {types.get(wrong, 'absent')} in {file} but {schema.get(wrong, 'absent')} in {first}; write "
                "all parts of a table with one schema"
            )
    keys = any("=" in part for part in first.parent.parts)
    return pl.scan_parquet(
        list(files), glob=False, hive_partitioning=keys, extra_columns="ignore", missing_columns="insert"
    )


def _schema(file: Path) -> dict[str, pl.DataType]:
    if file.stat().st_size == 0:
        raise DataError(f"{file} is empty (0 bytes); wanted a parquet file")
    try:
        return dict(pl.scan_parquet(file, glob=False, hive_partitioning=False).collect_schema())
    except pl.exceptions.ComputeError as error:
        raise DataError(f"{file} is not a parquet file ({error}); write it with polars or pandas again") from error
