"""One text file of interactions: delimited text or JSON lines."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl

from sage_pl.data.sources.layout import Layout
from sage_pl.data.sources.lines import AUTO
from sage_pl.data.sources.raw import DataError, InputFile, RawData, clean_ids, hashes, require_file
from sage_pl.data.sources.table import LINE, read_table
from sage_pl.data.sources.texts import first_texts
from sage_pl.data.sources.times import in_exact_order, unix_times
from sage_pl.errors import SettingError
from sage_pl.ranges import Count

log = logging.getLogger(__name__)

READER = 2  # raised when the same file gives other interactions or texts
_RESERVED = ("item", "item_id", "title")


@dataclass(frozen=True)
class CSV:
    """Reads a delimited text file or JSON lines, plain or compressed; what ``auto`` stands for is found in the file.

    Ids are text, so ``007`` stays itself; blanks around them are removed. Times become Unix seconds
    (:func:`sage_pl.data.sources.times.unix_times`); events of a user within one second keep the order of their exact times, and
    equal times that of the file. An item's text is its first non-blank one.

    Args:
        path: the file.
        user: name of the column of user ids, or its number, from 1, in a file without a header.
        item: likewise, of item ids.
        time: likewise, of times; None takes the order of the file.
        text: a column of item titles, or several: the first is the title, the others keep their names; None for no text.
        separator, quote, header, encoding: see :class:`sage_pl.data.sources.layout.Layout`.
        time_format: auto, s, ms, us, ns, or a format of strptime.
        items: a second file, with the texts; None takes them from the first.
        items_key: the column of item ids in ``items``; None: as in the first file.

    Raises:
        MissingFileError: there is no such file.
        DataError: a file cannot be read as it is, lacks a column, has rows of another width, empty ids or times, or no rows.
    """

    path: str | Path = field(compare=False)
    user: str | Count = "user"
    item: str | Count = "item"
    time: str | Count | None = "time"
    text: str | Count | Sequence[str | Count] | None = None
    separator: str | None = AUTO
    quote: str | None = AUTO
    header: bool | str = AUTO
    encoding: str = AUTO
    time_format: str = AUTO
    items: str | Path | None = field(default=None, compare=False)
    items_key: str | Count | None = None

    def __post_init__(self) -> None:
        texts = self._texts()
        if len(set(texts)) < len(texts) or set(texts[1:]) & set(_RESERVED):
            raise SettingError(
                f"dataset.text is {texts}, wanted each column once, and none but the first called {', '.join(_RESERVED)}"
            )
        if self.items is not None and not texts:
            raise SettingError(f"dataset.items is {self.items}, but dataset.text names none of its columns")

    def load(self, *columns: str) -> RawData:
        ids = {"user_id": str(self.user), "item_id": str(self.item)}
        texts = self._texts() if self.items is None else []
        names = [*ids.values(), *([] if self.time is None else [str(self.time)]), *texts, *columns]
        file = require_file(*self.files()["file"])
        table, notes = read_table(file, names, self._layout(), self._help(), texts)
        if table.is_empty():
            raise DataError(f"{file} has a header but no rows; wanted one interaction per line")
        chosen = table.select(LINE, *(pl.col(name).alias(alias) for alias, name in ids.items()))
        chosen, cleaned = clean_ids(chosen, ids, str(file), LINE)
        frame, timed = self._timed(table, chosen, file, columns)
        notes += cleaned + timed
        items = None
        if self.items is not None:
            items, more = self._items(require_file(*self.files()["items"]))
            notes += more
        elif texts:
            items = first_texts(_titled(chosen.select("item_id"), table, texts))
        for note in notes:
            log.info("%s", note)
        return RawData(frame.lazy(), items, tuple(notes))

    def files(self) -> dict[str, InputFile]:
        files = {"file": InputFile(Path(self.path), "name the file with dataset.path=FILE")}
        if self.items is not None:
            files["items"] = InputFile(Path(self.items), "name the file of item texts with dataset.items=FILE")
        return files

    def fingerprint(self) -> dict[str, Any]:
        columns = {"user": self.user, "item": self.item, "time": self.time, "text": self._texts()}
        layout = {"separator": self._layout().separator, "quote": self.quote, "header": self.header}
        others = {"encoding": self.encoding, "time_format": self.time_format, "items_key": self.items_key}
        return {"reader": READER, **hashes(self.files()), **columns, **layout, **others}

    def like(self, file: Path) -> CSV:
        return replace(self, path=file, text=None, items=None, items_key=None)

    @property
    def columns(self) -> list[str]:
        """Names of the columns of user, item and, where there is one, time."""
        return [str(name) for name in (self.user, self.item, self.time) if name is not None]

    def _timed(
        self, table: pl.DataFrame, ids: pl.DataFrame, file: Path, columns: Sequence[str]
    ) -> tuple[pl.DataFrame, list[str]]:
        """Ids, times and further columns, and what is to be said of the times."""
        frame = ids.drop(LINE).with_columns(table[name] for name in columns)
        if self.time is None:
            position = pl.int_range(pl.len(), dtype=pl.Int64).over("user_id")
            note = f"{file.name}: no times, so a user's events are in the order of the file"
            return frame.with_columns(timestamp=position), [note]
        times = unix_times(table[str(self.time)], table[LINE], str(file), self.time_format)
        frame = frame.with_columns(timestamp=times.seconds, nanos=times.nanos)
        frame = in_exact_order(frame) if (frame["nanos"] > 0).any() else frame.drop("nanos")
        return frame, [] if times.note is None else [times.note]

    def _items(self, file: Path) -> tuple[pl.DataFrame, list[str]]:
        """The second file's texts."""
        key = str(self.item if self.items_key is None else self.items_key)
        help = f"name its columns: dataset.items_key={key} dataset.text=[{','.join(self._texts())}]"
        table, notes = read_table(file, [key, *self._texts()], self._layout(), help, self._texts())
        ids, cleaned = clean_ids(table.select(LINE, pl.col(key).alias("item_id")), {"item_id": key}, str(file), LINE)
        return first_texts(_titled(ids.select("item_id"), table, self._texts())), notes + cleaned

    def _texts(self) -> list[str]:
        columns = [] if self.text is None else [self.text] if isinstance(self.text, str | int) else self.text
        return [str(name) for name in columns]

    def _layout(self) -> Layout:
        return Layout(self.separator, self.quote, self.header, self.encoding)

    def _help(self) -> str:
        names = {"user": self.user, "item": self.item, "time": self.time}
        if self.items is None and self.text is not None:
            names["text"] = self.text if isinstance(self.text, str | int) else f"[{','.join(self._texts())}]"
        keys = ", ".join(f"dataset.{key}={'null' if name is None else name}" for key, name in names.items())
        return f"name the columns, which are now {keys} (dataset.time=null takes the order of the file)"


def _titled(ids: pl.DataFrame, table: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """The ids beside their texts: the first column is called title, the others as in the file."""
    return ids.with_columns(table[name].alias("title" if at == 0 else _column(name)) for at, name in enumerate(names))


def _column(name: str) -> str:
    return f"column {name}" if name.isdecimal() else name
