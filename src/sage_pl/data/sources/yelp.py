"""The Yelp Open Dataset, as it is distributed."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from sage_pl.data.sources import lines
from sage_pl.data.sources.csv import CSV
from sage_pl.data.sources.raw import (
    Catalogue,
    DataError,
    InputFile,
    RawData,
    check_items,
    hashes,
    require_file,
    unix_seconds,
)
from sage_pl.data.sources.texts import texts

log = logging.getLogger(__name__)
COMMAS_INSIDE = ("Beer, Wine & Spirits", "Used, Vintage & Consignment", "Books, Mags, Music & Video")
SCHEMA = {"user_id": pl.String(), "item_id": pl.String(), "timestamp": pl.Int64()}
CRAWL = ("is_open", "review_count", "stars")  # of a business, as they were when the dump was made
ITEM_SCHEMA = {"item_id": pl.String, "title": pl.String, "categories": pl.List(pl.String), "city": pl.String}


@dataclass(frozen=True)
class Yelp:
    """Reads Yelp's review and business files (one JSON record per line, plain or gzip).

    All ratings count, as in LLM-ESR. Of a business only name, categories and city are read unless ``crawl`` is set:
    ``review_count`` and ``stars`` are totals at crawl time, which leak future popularity into the text.

    Args:
        reviews: ``yelp_academic_dataset_review.json``.
        businesses: ``yelp_academic_dataset_business.json``.
        start: first date, ``YYYY-MM-DD[ hh:mm:ss]``; 2000-01-01 in the reference.
        end: last date; ``2019-12-31 00:00:00`` in the reference.
        catalogue: ``bought`` reads the texts of reviewed businesses, ``all`` those of every business.
        crawl: also read ``is_open``, ``review_count`` and ``stars`` as columns of text, which the reference's prompt has.

    Raises:
        MissingFileError: a file is absent.
        DataError: a line is malformed or lacks a field, or no review lies between the dates.
    """

    reviews: str | Path = field(compare=False)
    businesses: str | Path = field(compare=False)
    start: str | None = None
    end: str | None = None
    catalogue: Catalogue = "bought"
    crawl: bool = False

    def load(self, *columns: str) -> RawData:
        reviews, businesses = (require_file(*file) for file in self.files().values())
        first, last = (None if day is None else unix_seconds(day) for day in (self.start, self.end))
        count = Counter[str]()
        frame = lines.frame_of(
            _rows(reviews, columns, first, last, count), SCHEMA | dict.fromkeys(columns, pl.String())
        )
        if frame.is_empty():
            raise DataError(f"{reviews} has no review from {self.start} to {self.end}; check dataset.start and .end")
        lines.require_fields(frame, columns, reviews)
        bought = set(frame["item_id"].unique()) if self.catalogue == "bought" else None
        items = _businesses(businesses, bought, CRAWL if self.crawl else ())
        return RawData(frame.lazy(), items, self._outside(count["outside"], count["all"]))

    def files(self) -> dict[str, InputFile]:
        reviews = InputFile(Path(self.reviews), "name Yelp's review file with dataset.reviews=FILE")
        return {
            "reviews": reviews,
            "businesses": InputFile(Path(self.businesses), "name Yelp's business file with dataset.businesses=FILE"),
        }

    def fingerprint(self) -> dict[str, Any]:
        settings: dict[str, Any] = {**hashes(self.files()), "start": self.start, "end": self.end, "texts": "tidy"}
        settings |= {"crawl": True} if self.crawl else {}
        return settings if self.catalogue == "bought" else {**settings, "catalogue": self.catalogue}

    def like(self, file: Path) -> CSV:
        return CSV(file, "user_id", "business_id", "date")

    def _outside(self, count: int, total: int) -> tuple[str, ...]:
        if not count:
            return ()
        period = f"from {self.start or 'the first'} to {self.end or 'the last'}"
        note = f"{count:,} of {total:,} reviews left out, which are not {period}"
        log.info("%s", note)
        return (note,)


def _rows(
    path: Path, columns: Sequence[str], first: int | None, last: int | None, count: Counter[str]
) -> Iterator[tuple[Any, ...]]:
    """The reviews between two times; ``count`` gets the number of ``all`` and of those ``outside``."""
    for number, record in lines.records(path):
        date = lines.field(record, "date", str, path, number)
        try:
            time = unix_seconds(date)
        except ValueError as error:
            raise DataError(f"{path}, line {number}: date is {date!r}, wanted YYYY-MM-DD[ hh:mm:ss]") from error
        count["all"] += 1
        if (first is not None and time < first) or (last is not None and time > last):
            count["outside"] += 1
            continue
        user = lines.identifier(record, "user_id", path, number)
        item = lines.identifier(record, "business_id", path, number)
        yield user, item, time, *(lines.cell(record, name, path, number) for name in columns)


def _businesses(path: Path, wanted: set[str] | None, more: Sequence[str]) -> pl.DataFrame:
    def rows() -> Iterator[tuple[Any, ...]]:
        for number, record in lines.records(path):
            item = lines.identifier(record, "business_id", path, number)
            if wanted is None or item in wanted:
                name, city = (" ".join(texts(record.get(field))) for field in ("name", "city"))
                categories = texts(split_categories(record.get("categories")))
                yield item, name, categories, city or None, *(lines.cell(record, field, path, number) for field in more)

    return check_items(lines.frame_of(rows(), ITEM_SCHEMA | dict.fromkeys(more, pl.String)), str(path))


def split_categories(text: Any) -> list[Any]:
    """Category names, none where there is no text; those of ``COMMAS_INSIDE`` are one name in spite of their comma.

    >>> split_categories("Food, Beer, Wine & Spirits")
    ['Food', 'Beer, Wine & Spirits']
    """
    if isinstance(text, list):
        return text
    text = text if isinstance(text, str) else ""
    for name in COMMAS_INSIDE:
        text = text.replace(name, name.replace(",", "\0"))
    return [part.strip().replace("\0", ",") for part in text.split(",") if part.strip()]
