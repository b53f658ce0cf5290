"""How items stand to one another in the training part of the sequences: next, previous, two steps away, together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from scipy import sparse

from sage_pl.artifacts.store import Artifact
from sage_pl.data.sequences import Sequences
from sage_pl.data.transitions import followers, in_blocks, row_shares, save_rows
from sage_pl.ranges import Count, Weight


@dataclass(frozen=True)
class Relations:
    """Step: four matrices [R, R] over items, from training events alone. ``T[i, j]`` is the number of times that j follows i
    directly in a user's events::

        after[i, j]    = T[i, j] / sum_k T[i, k]
        before[i, j]   = T[j, i] / sum_k T[k, i]
        second         = P^2, P the rows of T + backward T' divided by their sums
        together[i, j] = sum over the users u of both 1 / log2(1 + n_u), over sqrt(c_i c_j); 0 for i = j

    with c the number of distinct users of an item and ``n_u`` of distinct items of a user.

    Writes ``<name>_offsets.npy`` int64 [R + 1], ``<name>_items.npy`` int32 and ``<name>_values.npy`` float32 for each;
    ``counts.npy`` int64 [R], the training events.

    Time and memory grow with the sum of squared user lengths; rows are made some at a time.

    Args:
        backward: weight of reversed pairs in P.
        most: entries per row and matrix, the largest.

    Source: ``together`` is the cosine of ItemKNN with the user weight of Breese et al. (1998) as used in item-based filtering.
    """

    name: ClassVar[str] = "relations"
    version: ClassVar[int] = 1
    inputs: ClassVar[tuple[str, ...]] = ("sequences",)
    libraries: ClassVar[tuple[str, ...]] = ("scipy",)

    backward: Weight = 0.5
    most: Count = 1000

    def run(self, inputs: Mapping[str, Artifact], out: Path) -> None:
        data = Sequences.load(inputs["sequences"])
        counts = followers(data)
        step = row_shares(counts + self.backward * counts.T)
        save_rows(out, in_blocks(row_shares(counts), lambda rows: rows, self.most), "after_")
        save_rows(out, in_blocks(row_shares(counts.T), lambda rows: rows, self.most), "before_")
        save_rows(out, in_blocks(step, lambda rows: rows @ step, self.most), "second_")
        left, right = baskets(data)
        save_rows(out, in_blocks(left, lambda rows: rows @ right, self.most, diagonal=False), "together_")
        np.save(out / "counts.npy", data.train_counts.astype(np.int64))


def baskets(data: Sequences) -> tuple[sparse.csr_array, sparse.csr_array]:
    """Two matrices [R, U] and [U, R] whose product is ``together`` with its diagonal."""
    values, offsets = data.train_csr()
    users = len(offsets) - 1
    owner = np.repeat(np.arange(users), np.diff(offsets))
    held = sparse.csr_array((np.ones(len(values), np.float32), (owner, values)), shape=(users, data.n_items + 2))
    held.sum_duplicates()
    held.data[:] = 1
    sizes, owners = held.sum(axis=1), np.maximum(held.sum(axis=0), 1)
    scaled = sparse.csr_array(held @ sparse.diags_array(owners**-0.5))
    weighted = sparse.csr_array(sparse.diags_array(1 / np.log2(1 + np.maximum(sizes, 1))) @ scaled)
    return sparse.csr_array(weighted.T), scaled
