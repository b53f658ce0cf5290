"""Item vectors from the sequences alone, for data sets without text."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from sage_pl.artifacts.store import Artifact
from sage_pl.data.sequences import IntArray, Sequences
from sage_pl.errors import SettingError
from sage_pl.ranges import Count, Positive, Seed, Width
from sage_pl.semantic.tables import normalised, padded

if TYPE_CHECKING:
    from scipy.sparse import csr_array

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CooccurrenceEmbedder:
    """Truncated decomposition of the shifted positive PMI of neighbouring items.

    With ``n_ab`` the number of times a and b are within ``window`` places of each other in the training part,
    ``n_a = sum_b n_ab`` and ``n = sum_a n_a``:

        ``M_ab = max(0, log(n_ab n / (n_a n_b)) - log(shift))``,  ``M ~ U S V'``,  vectors ``U sqrt(S)``, scaled to norm 1.

    Items outside the training part, or without a neighbour there, have zero rows; their number is logged.

    Args:
        dim: width of the vectors, less than the number of items.
        window: places on either side.
        shift: the negative samples k of the equivalent word2vec; 1 is plain positive PMI.
        seed: of the randomised decomposition.

    Writes:
        ``table.npy`` float32 [R, dim].

    Raises:
        SettingError: nothing co-occurs, or ``dim`` is too large.

    Reference: Levy and Goldberg, Neural Word Embedding as Implicit Matrix Factorization, NeurIPS 2014.
    """

    dim: Width = 128
    window: Count = 5
    shift: Positive = 1.0
    seed: Seed = 0

    name: ClassVar[str] = "embed"
    version: ClassVar[int] = 2  # 1: zero rows had a say in the components
    inputs: ClassVar[tuple[str, ...]] = ("sequences",)
    libraries: ClassVar[tuple[str, ...]] = ("scikit-learn",)
    no_new_items: ClassVar[str] = "embedder=cooccurrence knows an item by its training events, and a new item has none"

    def __post_init__(self) -> None:
        object.__setattr__(self, "shift", float(self.shift))  # 1 and 1.0 are one artifact
        if self.window < 1 or not self.shift > 0:
            raise SettingError(
                f"got window={self.window} and shift={self.shift}; wanted steps.embed.window >= 1, shift > 0"
            )

    def run(self, inputs: Mapping[str, Artifact], out: Path) -> None:
        from sklearn.utils.extmath import randomized_svd

        sequences = Sequences.load(inputs["sequences"])
        if not 1 <= self.dim < sequences.n_items:
            raise SettingError(
                f"cannot make {self.dim} dimensions of {sequences.n_items} items; "
                f"set steps.embed.dim to 1..{sequences.n_items - 1}"
            )
        items, offsets = sequences.train_csr()
        information = positive_pmi(cooccurrences(items, offsets, self.window, sequences.n_items), self.shift)
        if not information.nnz:
            raise SettingError(
                "no two items occur together in the training part more often than by chance; take another embedder, "
                "a larger steps.embed.window or a smaller steps.embed.shift"
            )
        left, scale, _ = randomized_svd(information, n_components=self.dim, random_state=self.seed)
        rows = left * np.sqrt(scale)
        isolated = np.diff(information.indptr) == 0
        rows[isolated] = 0  # rounding errors, which the normalisation would scale up
        log.info("%d of %d items have no neighbour in the training part and get zero rows", isolated.sum(), len(rows))
        np.save(out / "table.npy", padded(normalised(rows)))


def cooccurrences(items: IntArray, offsets: IntArray, window: int, n_items: int) -> csr_array:
    """Number of times two different items are within ``window`` places of each other; symmetric.

    Args:
        items: all sequences, concatenated, ids 1..N.
        offsets: the first position of each sequence, and the end.
        window: places on either side.
        n_items: N.

    Returns:
        sparse [N, N], row and column i - 1 for item i, zero on the diagonal.
    """
    from scipy.sparse import coo_array, csr_array

    user = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    counts = csr_array((n_items, n_items), dtype=np.float64)
    for gap in range(1, window + 1):
        first, second = items[:-gap], items[gap:]
        pair = (user[:-gap] == user[gap:]) & (first != second)
        ones = np.ones(int(pair.sum()))
        counts = counts + coo_array((ones, (first[pair] - 1, second[pair] - 1)), shape=counts.shape).tocsr()
    return (counts + counts.T).tocsr()


def positive_pmi(counts: csr_array, shift: float = 1.0) -> csr_array:
    """``max(0, log(n_ab n / (n_a n_b)) - log(shift))`` of a symmetric matrix of counts, without stored zeros."""
    from scipy.sparse import csr_array

    pairs = counts.tocoo()
    mass = np.asarray(counts.sum(axis=1)).ravel()
    value = np.log(pairs.data * mass.sum() / (mass[pairs.row] * mass[pairs.col])) - np.log(shift)
    keep = value > 0
    return csr_array((value[keep], (pairs.row[keep], pairs.col[keep])), shape=counts.shape)
