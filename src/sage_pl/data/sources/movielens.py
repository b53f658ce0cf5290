"""MovieLens, as GroupLens distributes it: releases with ``::`` between fields (1M, 10M) and releases in CSV (20M, 25M)."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from sage_pl.data.sources.csv import CSV
from sage_pl.data.sources.raw import DataError, InputFile, RawData, check_items, hashes, require_columns, require_file
from sage_pl.data.sources.texts import tidy

NO_GENRE = "(no genres listed)"
_RATINGS = {"userId": pl.Int64, "movieId": pl.Int64, "rating": pl.Float64, "timestamp": pl.Int64}
_NAMES = {"userId": "user_id", "movieId": "item_id"}
_DAMAGED = (zipfile.BadZipFile, EOFError, UnicodeDecodeError, pl.exceptions.PolarsError)


@dataclass(frozen=True)
class MovieLens:
    """Reads ratings and movies from the archive. All ratings count; times are Unix seconds.

    A movie has a ``title`` and ``genres``. Its year stays in the title. A filter may read ``rating``.

    Args:
        path: ``ml-1m.zip``, ``ml-20m.zip`` or another release with the same files.

    Raises:
        MissingFileError: there is no such file.
        DataError: it is no archive of MovieLens, or a line is malformed.
    """

    path: str | Path = field(compare=False)

    def load(self, *columns: str) -> RawData:
        file = require_file(*self.files()["archive"])
        try:
            with zipfile.ZipFile(file) as archive:
                members = {Path(name).name: name for name in archive.namelist()}
                if "ratings.dat" in members:
                    ratings, movies = _double_colons(archive, members)
                elif "ratings.csv" in members:
                    ratings, movies = (_csv(archive, members[name]) for name in ("ratings.csv", "movies.csv"))
                else:
                    names = ", ".join(sorted(members)[:5])
                    raise DataError(
                        f"{file} holds {names}, wanted ratings.dat or ratings.csv; give the archive of MovieLens"
                    )
                frame, items = _interactions(ratings, columns, file), _items(movies)
        except DataError:
            raise
        except (*_DAMAGED, KeyError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise DataError(f"{file} breaks off or is damaged ({reason}); fetch the file again") from error
        return RawData(frame.lazy(), check_items(items, str(file)))

    def files(self) -> dict[str, InputFile]:
        return {"archive": InputFile(Path(self.path), "fetch it: sage-pl data movielens_1m")}

    def fingerprint(self) -> dict[str, Any]:
        return hashes(self.files())

    def like(self, file: Path) -> CSV:
        return CSV(file, "userId", "movieId", "timestamp")


def _double_colons(archive: zipfile.ZipFile, members: Mapping[str, str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """``ratings.dat`` and ``movies.dat``, in Latin-1. Each ``::`` is read as a field, an empty field and a field."""
    places = ["userId", "_1", "movieId", "_2", "rating", "_3", "timestamp"]
    schema = {name: _RATINGS.get(name, pl.String) for name in places}
    content = archive.read(members["ratings.dat"])
    ratings = pl.read_csv(io.BytesIO(content), separator=":", has_header=False, schema=schema, quote_char=None)
    lines = archive.read(members["movies.dat"]).decode("latin-1").splitlines()
    rows = [line.split("::") for line in lines if line]
    if wrong := [line for line in rows if len(line) != 3]:
        raise DataError(
            f"movies.dat has {len(wrong[0])} fields in {'::'.join(wrong[0])!r:.100}, wanted 3; fetch the file again"
        )
    movies = pl.DataFrame(rows, {"movieId": pl.String, "title": pl.String, "genres": pl.String}, orient="row")
    return ratings, movies.with_columns(pl.col("movieId").cast(pl.Int64))


def _csv(archive: zipfile.ZipFile, name: str) -> pl.DataFrame:
    return pl.read_csv(io.BytesIO(archive.read(name)), schema_overrides=_RATINGS)


def _interactions(ratings: pl.DataFrame, columns: Sequence[str], file: Path) -> pl.DataFrame:
    require_columns(ratings.columns, [*_RATINGS, *columns], str(file), "a filter reads it; see dataset.filters")
    if ratings.is_empty():
        raise DataError(f"{file} has no ratings, wanted at least one; fetch the file again")
    return ratings.select(*_RATINGS, *(name for name in columns if name not in _RATINGS)).rename(_NAMES)


def _items(movies: pl.DataFrame) -> pl.DataFrame:
    genres = pl.col("genres").fill_null("").str.split("|")
    kept = genres.list.eval(pl.element().filter((pl.element() != NO_GENRE) & (pl.element() != "")))
    titles = pl.Series("title", [tidy(title or "") for title in movies["title"]], pl.String)
    return movies.with_columns(titles, kept).rename(_NAMES, strict=False).select("item_id", "title", "genres")
