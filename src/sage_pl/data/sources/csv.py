"""One CSV file of interactions."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from sage_pl.artifacts.files import file_digest
from sage_pl.data.sources.lines import numbered_lines
from sage_pl.data.sources.raw import DataError, RawData, require_columns, require_file


@dataclass(frozen=True)
class CSV:
    """Reads a UTF-8 CSV file with a header line, plain or gzip.

    Ids are text, so ``007`` stays itself. Times are whole numbers (seconds or positions) or ISO 8601 dates, which become
    Unix seconds (UTC where they name no zone). An item's text is its first non-empty one.

    Args:
        path: the file.
        user: name of the column of user ids.
        item: name of the column of item ids.
        time: name of the column of times.
        text: name of a column of item titles, or None.
        separator: one character between fields.

    Raises:
        MissingFileError: there is no such file.
        DataError: the file is empty or not UTF-8, has rows of another width, lacks a column or has empty ids or times.
    """

    path: str | Path = field(compare=False)
    user: str = "user"
    item: str = "item"
    time: str = "time"
    text: str | None = None
    separator: str = ","

    def load(self) -> RawData:
        file = self._file()
        for _ in numbered_lines(file):
            pass  # raises DataError with the line of bytes that are not UTF-8
        columns = {"user_id": self.user, "item_id": self.item, "timestamp": self.time}
        if self.text is not None:
            columns["title"] = self.text
        try:
            table = pl.scan_csv(file, separator=self.separator, infer_schema=False, glob=False)
            require_columns(table.collect_schema(), columns.values(), str(file), _help(columns))
            table = table.select(pl.col(name).alias(alias) for alias, name in columns.items())
            frame = table.select("user_id", "item_id", "timestamp").collect(engine="streaming")
            texts = table.select("item_id", "title").collect(engine="streaming") if self.text is not None else None
        except pl.exceptions.NoDataError as error:
            raise DataError(f"{file} is empty; wanted a header line and one interaction per line") from error
        except pl.exceptions.ComputeError as error:
            raise DataError(f"{file} is not a table with separator {self.separator!r}: {error}") from error
        frame = frame.with_columns(self._seconds(frame["timestamp"], file))
        self._check(frame, file)
        return RawData(frame.lazy(), None if texts is None else _first_texts(texts))

    def fingerprint(self) -> dict[str, Any]:
        columns = {"user": self.user, "item": self.item, "time": self.time, "text": self.text}
        return {"file": file_digest(self._file()), **columns, "separator": self.separator}

    def _file(self) -> Path:
        return require_file(Path(self.path), "name the file with dataset.path=FILE")

    def _seconds(self, times: pl.Series, file: Path) -> pl.Series:
        """Whole numbers as they are, ISO dates as Unix seconds."""
        times = times.str.strip_chars()
        # 01/02/2020 is no such date: its day is ambiguous.
        if len(times) and (times.is_null() | times.str.contains(r"^\d{4}-\d\d-\d\d")).all():
            whole = times.str.to_datetime(time_zone="UTC", strict=False).dt.epoch("s")
        else:
            whole = times.str.replace(r"\.0*$", "").cast(pl.Int64, strict=False)
        wrong = (whole.is_null() & times.is_not_null()).arg_true()
        if len(wrong):
            row = wrong[0]
            raise DataError(
                f"{file}: {self.time} is {times[row]!r} in data row {row + 1}, wanted whole numbers or ISO dates in every row"
            )
        return whole.alias("timestamp")

    def _check(self, frame: pl.DataFrame, file: Path) -> None:
        if frame.is_empty():
            raise DataError(f"{file} has a header but no rows; wanted one interaction per line")
        for column, name in {"user_id": self.user, "item_id": self.item, "timestamp": self.time}.items():
            if nulls := frame[column].null_count():
                row = frame[column].is_null().arg_true()[0] + 1
                raise DataError(f"{file}: {name} is empty in {nulls} rows, first in data row {row}; fill or drop them")


def _first_texts(texts: pl.DataFrame) -> pl.DataFrame:
    """One row per item with its first non-empty text, '' if there is none."""
    first = texts.filter(pl.col("title").str.strip_chars() != "").unique("item_id", keep="first", maintain_order=True)
    items = texts.select("item_id").unique(maintain_order=True)
    table = items.join(first, on="item_id", how="left", maintain_order="left")
    return table.with_columns(pl.col("title").fill_null(""))


def _help(columns: dict[str, str]) -> str:
    keys = {"user_id": "user", "item_id": "item", "timestamp": "time", "title": "text"}
    return "Name the columns: " + ", ".join(f"dataset.{keys[alias]}={name}" for alias, name in columns.items()) + "."
