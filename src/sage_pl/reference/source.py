"""The reference's ``handled/`` folder, as LLM-ESR and SAGE distribute it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from sage_pl.data.sources import lines
from sage_pl.data.sources.csv import CSV
from sage_pl.data.sources.raw import DataError, InputFile, RawData, hashes, require_columns, require_file


@dataclass(frozen=True)
class Handled:
    """Reads ``inter.txt`` (or ``inter.txt.gz``): one "user item" pair per line, oldest first within a user.

    The time of an event is its position in the user's sequence. There is no text;
    :func:`sage_pl.data.plain_pickle.read_plain_pickle` reads the LLM vectors beside it (``itm_emb_np.pkl``, row r = item
    r + 1).

    Args:
        path: the folder.

    Raises:
        MissingFileError: the folder has neither file.
        DataError: a line is not a pair of whole numbers, or the file is empty.

    Reference: LLM-ESR, ``data/<dataset>/handled/inter.txt``.
    """

    path: str | Path = field(compare=False)

    def load(self, *columns: str) -> RawData:
        require_columns(("user", "item"), columns, str(self.path), "take the filter out of dataset.filters")
        file = require_file(*self.files()["inter"])
        frame = lines.frame_of(_pairs(file), {"user_id": pl.Int64, "item_id": pl.Int64})
        lines.require_rows(frame, file)
        position = pl.int_range(pl.len(), dtype=pl.Int64).over("user_id")
        return RawData(frame.lazy().with_columns(timestamp=position), None)

    def like(self, file: Path) -> CSV:
        return CSV(file, 1, 2, None, separator="blanks", header=False)

    def files(self) -> dict[str, InputFile]:
        zipped = Path(self.path) / "inter.txt.gz"
        file = zipped if zipped.is_file() else Path(self.path) / "inter.txt"
        return {"inter": InputFile(file, "inter.txt.gz is accepted too; name the folder with dataset.path=DIR")}

    def fingerprint(self) -> dict[str, Any]:
        return hashes(self.files())


def _pairs(path: Path) -> Iterator[tuple[int, int]]:
    for number, line in lines.numbered_lines(path):
        try:
            user, item = map(int, line.split())
        except ValueError as error:
            text = f"{path}, line {number}: wanted 'user item', two whole numbers, got {line.strip()!r}"
            raise DataError(text) from error
        yield user, item
