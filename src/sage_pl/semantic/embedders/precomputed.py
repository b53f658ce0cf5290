"""Item vectors from a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl

from sage_pl.artifacts.store import Artifact
from sage_pl.data.sources.raw import InputFile, hashes, require_file
from sage_pl.errors import SettingError
from sage_pl.semantic.tables import FloatArray, blocks, write_padded

LISTED = 5


@dataclass(frozen=True)
class PrecomputedEmbedder:
    """Vectors of a file, joined to this data set's items.

    - ``.parquet``: columns ``item_id`` (as in the data set) and ``embedding`` (numbers, all of one width). The safest: rows are
      joined by id, in any order, and those of other items are ignored.
    - ``.npy``: an array [N, D] whose row r belongs to item r + 1 of the sequences artifact's ``items.parquet``.
    - ``.pkl``: the reference's ``itm_emb_np.pkl`` [N, D], row r for the source's item id r + 1; ids must be 1..N. Read
      without executing code.

    The artifact's key depends on the content of the file alone.

    Args:
        path: the file.

    Writes:
        ``table.npy`` float32 [R, D]; float16 for a file in float16, half as large and also float16 in training.

    Raises:
        MissingFileError: there is no such file.
        SettingError: the kind, shape, ids or values are wrong.

    Reference: SAGE code line, ``itm_emb_np.pkl``.
    """

    path: str = field(compare=False)

    name: ClassVar[str] = "embed"
    version: ClassVar[int] = 2  # 1: zero rows had a say in the components
    inputs: ClassVar[tuple[str, ...]] = ("sequences",)
    libraries: ClassVar[tuple[str, ...]] = ()
    no_new_items: ClassVar[str] = "embedder=precomputed reads vectors from a file and encodes no text"

    def files(self) -> dict[str, InputFile]:
        """The file, present or not."""
        return {"sha256": InputFile(Path(self.path), "set steps.embed.path=FILE to a .parquet, .npy or .pkl file")}

    def fingerprint(self) -> dict[str, str]:
        """The hash of the file, for artifact keys."""
        return hashes(self.files())

    def run(self, inputs: Mapping[str, Artifact], out: Path) -> None:
        items = inputs["sequences"].frame("items").sort("item")
        file = require_file(*self.files()["sha256"])
        match file.suffix:
            case ".parquet":
                rows = _from_parquet(file, items)
            case ".npy":
                rows = _checked(np.load(file, mmap_mode="r", allow_pickle=False), len(items), file)
            case ".pkl":
                rows = _from_pickle(file, items)
            case _:
                raise SettingError(f"{file} is of no known kind; wanted .parquet, .npy or .pkl (steps.embed.path=FILE)")
        broken = np.concatenate([at + np.flatnonzero(~np.isfinite(block).all(axis=1)) for at, block in blocks(rows)])
        if len(broken):
            raise SettingError(
                f"{file}: the vectors of {len(broken)} items hold NaN or infinite numbers (items "
                f"{_some((broken + 1).tolist())}); mend them there, a zero vector will do"
            )
        write_padded(rows, out / "table.npy")


def _checked(rows: Any, n_items: int, file: Path) -> FloatArray:
    """The rows, checked to be a matrix of numbers with one row per item."""
    if not isinstance(rows, np.ndarray) or rows.ndim != 2 or rows.dtype.kind not in "fiu" or not rows.shape[1]:
        got = f"{rows.dtype} array {rows.shape}" if isinstance(rows, np.ndarray) else type(rows).__name__
        raise SettingError(f"{file} holds a {got}, wanted a matrix of numbers [{n_items}, D]")
    if len(rows) != n_items:
        raise SettingError(
            f"{file} has {len(rows)} rows, wanted {n_items}, one per item of the data set and none for padding; if the items "
            "were filtered differently, give a .parquet file with item_id and embedding"
        )
    return rows


def _from_pickle(file: Path, items: pl.DataFrame) -> FloatArray:
    from sage_pl.data.plain_pickle import read_plain_pickle

    ids = items["item_id"]
    if not ids.dtype.is_integer() or ids.sort().to_list() != list(range(1, len(items) + 1)):
        raise SettingError(
            f"{file}: rows of a .pkl file belong to the item ids 1..{len(items)}, but this data set has other ids; give a "
            ".parquet file with item_id and embedding"
        )
    return _checked(read_plain_pickle(file), len(items), file)[ids.to_numpy() - 1]


def _from_parquet(file: Path, items: pl.DataFrame) -> FloatArray:
    table = pl.read_parquet(file, glob=False)
    if missing := {"item_id", "embedding"} - set(table.columns):
        raise SettingError(f"{file} lacks the column {', '.join(sorted(missing))}; it has {', '.join(table.columns)}")
    ids = items.select(pl.col("item_id").cast(pl.String))
    table = table.select(pl.col("item_id").cast(pl.String), "embedding").join(ids, on="item_id", how="semi")
    twice = table.filter(pl.col("item_id").is_duplicated())["item_id"].unique(maintain_order=True).to_list()
    if twice:
        raise SettingError(f"{file} has more than one row for {len(twice)} items (item_id {_some(twice)})")
    joined = ids.join(table, on="item_id", how="left", maintain_order="left")
    absent = joined.filter(pl.col("embedding").is_null())["item_id"].to_list()
    if absent:
        raise SettingError(f"{file} has no embedding for {len(absent)} of {len(items)} items (item_id {_some(absent)})")
    if not isinstance(joined.schema["embedding"], pl.Array):
        widths = joined["embedding"].list.len().unique().sort().to_list()
        if len(widths) > 1:
            raise SettingError(f"{file}: embeddings have the widths {_some(widths)}, wanted one width")
        joined = joined.with_columns(pl.col("embedding").list.to_array(widths[0]))
    return _checked(joined["embedding"].to_numpy(), len(items), file)


def _some(values: list[Any]) -> str:
    return ", ".join([*map(str, values[:LISTED]), *(["..."] if len(values) > LISTED else [])])
