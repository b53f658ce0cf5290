"""Which items follow which in the training part of the sequences, one and two steps away."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from scipy import sparse

from sage_pl.artifacts.store import Artifact
from sage_pl.data.sequences import IntArray, Sequences
from sage_pl.ranges import Count, Weight

_ROWS = 1024  # rows of the second step at a time


@dataclass(frozen=True)
class Transitions:
    """Step: ``W = P + second P^2`` with ``P`` the row-normalised ``T + backward T'`` and ``T[i, j]`` the number of times that
    j follows i directly in a user's training events. Held-out events are not read.

    Writes ``offsets.npy`` int64 [R + 1], ``items.npy`` int32 and ``values.npy`` float32, the rows of W with ascending items;
    ``counts.npy`` int64 [R], the training events of every item.

    Args:
        backward: weight of the reversed pairs.
        second: weight of two steps.
        most: entries per row, the largest; bounds the second step of frequent items.

    Source: fixed form of the item-to-item walk; a heuristic of one and two steps as in TGH (arXiv 2605.07125).
    """

    name: ClassVar[str] = "transitions"
    version: ClassVar[int] = 1
    inputs: ClassVar[tuple[str, ...]] = ("sequences",)
    libraries: ClassVar[tuple[str, ...]] = ("scipy",)

    backward: Weight = 0.5
    second: Weight = 0.3
    most: Count = 1000

    def run(self, inputs: Mapping[str, Artifact], out: Path) -> None:
        data = Sequences.load(inputs["sequences"])
        save_rows(out, walks(data, self.backward, self.second, self.most))
        np.save(out / "counts.npy", data.train_counts.astype(np.int64))


def pairs(data: Sequences) -> tuple[IntArray, IntArray]:
    """Each training event but a user's last, and the event that follows it."""
    values, offsets = data.train_csr()
    inside = np.ones(len(values), bool)
    inside[offsets[1:-1][offsets[1:-1] < len(values)]] = False  # a user's first event follows nothing
    inside[:1] = False
    after = np.flatnonzero(inside)
    return values[after - 1], values[after]


def followers(data: Sequences) -> sparse.csr_array:
    """``T`` [R, R]: how often one item follows another directly."""
    before, after = pairs(data)
    size = data.n_items + 2
    return sparse.csr_array((np.ones(len(before), np.float32), (before, after)), shape=(size, size))


def walks(data: Sequences, backward: float, second: float, most: int) -> sparse.csr_array:
    """The matrix W of :class:`Transitions`, [R, R]."""
    counts = followers(data)
    step = row_shares(counts + backward * counts.T)
    return in_blocks(step, lambda rows: rows + second * (rows @ step), most)


def row_shares(rows: sparse.sparray) -> sparse.csr_array:
    """Rows divided by their sums; empty rows stay empty."""
    sums = rows.sum(axis=1)
    return sparse.csr_array(sparse.diags_array(1 / np.maximum(sums, np.finfo(np.float32).tiny)) @ rows)


def in_blocks(
    rows: sparse.csr_array, change: Callable[[sparse.csr_array], sparse.csr_array], most: int, diagonal: bool = True
) -> sparse.csr_array:
    """``change`` of some rows at a time, of which the ``most`` largest entries of each row stay, without those of the diagonal
    if not ``diagonal``."""
    blocks = []
    for start in range(0, rows.shape[0], _ROWS):
        block = sparse.csr_array(change(rows[start : start + _ROWS]))
        if not diagonal:
            block.setdiag(0, k=start)
            block.eliminate_zeros()
        blocks.append(_largest(block, most))
    whole = sparse.csr_array(sparse.vstack(blocks))
    whole.sort_indices()
    return whole


def save_rows(out: Path, rows: sparse.csr_array, prefix: str = "") -> None:
    """Write a matrix as ``offsets``, ``items`` and ``values``."""
    np.save(out / f"{prefix}offsets.npy", rows.indptr.astype(np.int64))
    np.save(out / f"{prefix}items.npy", rows.indices.astype(np.int32))
    np.save(out / f"{prefix}values.npy", rows.data.astype(np.float32))


def _largest(rows: sparse.csr_array, most: int) -> sparse.csr_array:
    """The largest ``most`` entries of every row."""
    lengths = np.diff(rows.indptr)
    if lengths.max(initial=0) <= most:
        return rows
    row = np.repeat(np.arange(len(lengths)), lengths)
    order = np.lexsort((-rows.data, row))
    place = np.arange(len(order)) - np.repeat(rows.indptr[:-1], lengths)
    best = order[place < most]
    return sparse.csr_array((rows.data[best], (row[best], rows.indices[best])), shape=rows.shape)
