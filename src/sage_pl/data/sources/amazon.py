"""Amazon product reviews with their metadata: the releases of 2014, 2018 and 2023."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from sage_pl.data.sources import lines
from sage_pl.data.sources.csv import CSV
from sage_pl.data.sources.raw import Catalogue, DataError, InputFile, RawData, check_items, hashes, require_file
from sage_pl.data.sources.texts import texts
from sage_pl.data.sources.times import NAMES, UNITS, unit_of
from sage_pl.errors import SettingError
from sage_pl.ranges import Count

SCHEMA = {"user_id": pl.String(), "item_id": pl.String(), "timestamp": pl.Int64()}
ITEM_SCHEMA = {
    "item_id": pl.String,
    "title": pl.String,
    "brand": pl.String,
    "categories": pl.List(pl.String),
    "description": pl.String,
    "features": pl.List(pl.String),
    "price": pl.String,
}


class Release(NamedTuple):
    """The field names of one release."""

    user: str
    item: str
    time: str
    per_second: int
    brand: str
    categories: str
    features: str


RELEASES = {
    2014: Release("reviewerID", "asin", "unixReviewTime", 1, "brand", "categories", "feature"),
    2018: Release("reviewerID", "asin", "unixReviewTime", 1, "brand", "category", "feature"),
    2023: Release("user_id", "parent_asin", "timestamp", 1000, "store", "categories", "features"),
}
_LARGE = 10**8  # of a time; smaller numbers, such as positions, have no unit


@dataclass(frozen=True)
class Amazon:
    """Reads one category's review file and metadata file, one record per line, plain or gzip.

    All ratings count. Read are the ids and time of a review (Unix seconds) and the text of reviewed items: ``title``,
    ``brand``, ``categories`` (2014: the first path), ``description``, ``features``, ``price``, with HTML entities resolved.
    Metadata of 2014 are Python literals, parsed as data and never evaluated. The first of several metadata records of an
    item counts. Times of 2023 are rounded down to seconds; equal times keep file order.

    Args:
        reviews: review file, such as ``reviews_Beauty_5.json.gz``.
        metadata: metadata file, such as ``meta_Beauty.json.gz``.
        year: the release: 2014, 2018 or 2023.
        catalogue: ``bought`` reads the texts of reviewed items, ``all`` those of every item of the metadata.
        longest: a title, brand or price of more characters counts as missing (100 in the reference: 2018's prices hold pieces
            of web pages); None for no limit.

    Raises:
        SettingError: there is no release of that year.
        MissingFileError: a file is absent.
        DataError: a line is malformed, not UTF-8 or lacks a field, there is no review, or a time is no date.
    """

    reviews: str | Path = field(compare=False)
    metadata: str | Path = field(compare=False)
    year: Count = 2014
    catalogue: Catalogue = "bought"
    longest: Count | None = None

    def __post_init__(self) -> None:
        if self.year not in RELEASES:
            releases = ", ".join(map(str, RELEASES))
            raise SettingError(f"dataset.year is {self.year!r}, wanted one of the releases {releases}")

    def load(self, *columns: str) -> RawData:
        reviews, metadata = (require_file(*file) for file in self.files().values())
        frame = lines.frame_of(self._rows(reviews, columns), SCHEMA | dict.fromkeys(columns, pl.String()))
        lines.require_rows(frame, reviews)
        lines.require_fields(frame, columns, reviews)
        self._check_times(frame["timestamp"], reviews)
        bought = set(frame["item_id"].unique()) if self.catalogue == "bought" else None
        items = lines.frame_of(self._items(metadata, bought), ITEM_SCHEMA)
        return RawData(frame.lazy(), check_items(items, str(metadata)))

    def files(self) -> dict[str, InputFile]:
        reviews = InputFile(Path(self.reviews), "name the review file with dataset.reviews=FILE")
        return {
            "reviews": reviews,
            "metadata": InputFile(Path(self.metadata), "name the metadata file with dataset.metadata=FILE"),
        }

    def fingerprint(self) -> dict[str, Any]:
        settings = {**hashes(self.files()), "year": self.year}
        settings |= {} if self.longest is None else {"longest": self.longest}
        return settings if self.catalogue == "bought" else {**settings, "catalogue": self.catalogue}

    def like(self, file: Path) -> CSV:
        names = RELEASES[self.year]
        return CSV(file, names.user, names.item, names.time)

    def _check_times(self, times: pl.Series, path: Path) -> None:
        """Refuse times whose size is that of another unit, such as seconds as milliseconds, which are January of 1970."""
        names = RELEASES[self.year]
        unit = "s" if names.per_second == 1 else "ms"
        written = int(times.max()) * names.per_second  # type: ignore[arg-type]
        found = pl.select(unit_of(pl.Series([min(written, 2**63 - 1)]))).item()
        if written >= _LARGE and UNITS[found] != unit:
            raise DataError(
                f"{path}: {names.time} reaches {written}, which is no date in the release of {self.year}, "
                f"whose times are {NAMES[unit]}; convert them, or check dataset.year"
            )

    def _rows(self, path: Path, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        names = RELEASES[self.year]
        for number, record in lines.records(path):
            user = lines.identifier(record, names.user, path, number)
            item = lines.identifier(record, names.item, path, number)
            time = lines.field(record, names.time, int, path, number) // names.per_second
            yield user, item, time, *(lines.cell(record, name, path, number) for name in columns)

    def _items(self, path: Path, wanted: set[str] | None) -> Iterator[tuple[Any, ...]]:
        names, read = RELEASES[self.year], set[str]()
        parse: Callable[[str], Any] = parse_literal if self.year == 2014 else json.loads
        for number, record in lines.records(path, parse):
            item = lines.identifier(record, names.item, path, number)
            if item not in read and (wanted is None or item in wanted):
                read.add(item)  # later records of the item are ignored
                yield (
                    item,
                    self._short(record.get("title")),
                    self._short(record.get(names.brand)) or None,
                    texts(_first_path(record.get(names.categories))),
                    " ".join(texts(record.get("description"))) or None,
                    texts(record.get(names.features)),
                    self._short(record.get("price")) or None,
                )

    def _short(self, value: Any) -> str:
        """A text, or "" where it is longer than ``longest``."""
        text = " ".join(texts(value))
        return text if self.longest is None or len(text) <= self.longest else ""


def parse_literal(line: str) -> Any:
    """A JSON value or a Python literal; ValueError or SyntaxError if it is neither."""
    try:
        return json.loads(line)
    except ValueError:
        return ast.literal_eval(line.strip())


def _first_path(value: Any) -> Any:
    """2014 lists several category paths per item; the first is the main one."""
    return value[0] if isinstance(value, list) and value and isinstance(value[0], list) else value
