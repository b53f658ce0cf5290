"""One vector of each user's taste, in the space of the item texts."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import polars as pl

from sage_pl.artifacts.store import Artifact
from sage_pl.data.sequences import Sequences
from sage_pl.ranges import Count
from sage_pl.semantic.embedders.protocol import TextEncoder
from sage_pl.semantic.tables import normalised
from sage_pl.semantic.texts import NO_TEXT, Texts, check_columns, item_texts

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MeanProfile:
    """A user's vector: the mean of the vectors of the items in the training part, scaled to norm 1.

    Repeated items count repeatedly; held-out items are excluded. A user without training items, or with zero vectors alone, has
    a zero row.

    Args:
        chunk: users of one product; does not change the result.

    Writes:
        ``table.npy`` float32 [U + 1, D], row 0 zero.

    Differs: the reference embeds a prompt of the titles, see :class:`PromptProfile`. Here no text is cut or encoded twice.
    """

    chunk: Count = field(default=16384, compare=False)

    name: ClassVar[str] = "profile"
    version: ClassVar[int] = 1
    inputs: ClassVar[tuple[str, ...]] = ("sequences", "embed")
    libraries: ClassVar[tuple[str, ...]] = ()

    def run(self, inputs: Mapping[str, Artifact], out: Path) -> None:
        from scipy.sparse import csr_array

        items, offsets = Sequences.load(inputs["sequences"]).train_csr()
        vectors = np.asarray(inputs["embed"].array("table"), dtype=np.float32)
        n_rows = len(offsets) - 1
        visits = csr_array((np.ones(len(items), np.float32), items, offsets), shape=(n_rows, len(vectors)))
        kind = np.lib.format.dtype_to_descr(np.dtype(np.float32))
        header = {"descr": kind, "fortran_order": False, "shape": (n_rows, vectors.shape[1])}
        with (out / "table.npy").open("wb") as stream:  # a mapped file would end the process where the disk is full
            np.lib.format.write_array_header_1_0(stream, header)
            for start in range(0, n_rows, self.chunk):
                stream.write(
                    np.ascontiguousarray(normalised(visits[start : start + self.chunk] @ vectors), np.float32).data
                )


@dataclass(frozen=True)
class PromptProfile:
    """A user's vector: the encoded list of the items in the training part, oldest first, as in the reference.

    The list is joined by commas and truncated to its last ``max_chars`` characters. An encoder then truncates the end, the
    newest items, so ``max_chars`` should stay below its limit (about four characters per token). Meant for comparison with
    :class:`MeanProfile`.

    Args:
        encoder: an embedder of texts, e.g. ``encoder: ${steps.embed}``.
        max_chars: most characters of the list, from its end (8,000 in the reference).
        prefix: of the list.
        columns: of the data set's items table, which stand for an item; None for its whole text.

    Writes:
        ``table.npy`` float32 [U + 1, D], row 0 and the rows of users without training items zero.

    Raises:
        SettingError: the data set lacks one of the columns.

    Reference: SAGE code line, user prompts, of titles alone: ``steps.profile.columns=[title]``.
    """

    encoder: TextEncoder
    max_chars: Count = 1000
    prefix: str = "This user chose, from the oldest to the newest: "
    columns: tuple[str, ...] | None = None

    name: ClassVar[str] = "profile"
    version: ClassVar[int] = 1
    inputs: ClassVar[tuple[str, ...]] = ("sequences", "texts")

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", None if self.columns is None else tuple(self.columns))

    @property
    def libraries(self) -> tuple[str, ...]:
        return self.encoder.libraries

    def run(self, inputs: Mapping[str, Artifact], out: Path) -> None:
        items, offsets = Sequences.load(inputs["sequences"]).train_csr()
        prompts = self._prompts(items, offsets, self._texts(inputs))
        vectors = self.encoder.encode(prompts["prompt"].to_list())
        table = np.zeros((len(offsets) - 1, vectors.shape[1]), dtype=np.float32)
        table[prompts["user"].to_numpy()] = vectors
        np.save(out / "table.npy", table)

    def _texts(self, inputs: Mapping[str, Artifact]) -> pl.Series:
        """What stands for items 1..N in a list."""
        if self.columns is None:
            return pl.Series(item_texts(inputs["texts"]))
        table = inputs["sequences"].frame("items").sort("item")
        check_columns(table, self.columns, "steps.profile.columns")
        return Texts(self.columns).of(table).replace("", NO_TEXT)

    def _prompts(self, items: np.ndarray, offsets: np.ndarray, texts: pl.Series) -> pl.DataFrame:
        """One row per user with training items: user, prompt."""
        text = texts.gather(items - 1)
        users = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        listed = pl.col("text").str.join(", ").str.tail(self.max_chars)
        visits = pl.DataFrame({"user": users, "text": text})
        return visits.group_by("user", maintain_order=True).agg((self.prefix + listed).alias("prompt"))
