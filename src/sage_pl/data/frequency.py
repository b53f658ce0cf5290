"""Items by frequency in training: the head, and buckets of equal mass."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sage_pl.data.sequences import IntArray
from sage_pl.errors import SettingError


def least_of_head(counts: IntArray) -> int:
    """Smallest count of a head item: the head is the 20 % most popular of the items with a count, ties included.

    Raises:
        SettingError: no item has a count.
    """
    descending = np.sort(counts[counts > 0])[::-1]
    if not len(descending):
        raise SettingError("no item has a count; the training part is empty")
    return int(descending[-(-len(descending) // 5) - 1])


def equal_mass_edges(descending: IntArray, n_buckets: int) -> npt.NDArray[np.int64]:
    """Where each bucket ends in a list of counts, most frequent first.

    A bucket grows until its sum reaches ``total / n_buckets``. The next one counts from 0: a bucket's surplus is not deducted
    from it. The last bucket takes the rest.

    Args:
        descending: counts in descending order.
        n_buckets: number of buckets.

    Returns:
        [n_buckets + 1] cumulative positions, from 0 to the number of counts.

    Example: counts 5 3 2 1 1 in 3 buckets (4 events each) -> edges 0 1 3 5: {5}, {3, 2}, {1, 1}.

    Raises:
        SettingError: no event, or ``n_buckets`` below 1.

    Reference: rule recovered from PAD's released bucket edges, which it reproduces for Prime Pantry.
    """
    if n_buckets < 1:
        raise SettingError(f"n_buckets is {n_buckets}, wanted at least 1")
    sums = np.cumsum(descending, dtype=np.int64)
    if not len(sums) or not sums[-1]:
        raise SettingError("no item occurs in training, so items have no frequency; use item_encoder/gate=shared")
    edges, before = [0], 0  # before: events in the buckets so far
    for _ in range(n_buckets - 1):
        end = int(np.searchsorted(sums * n_buckets, before * n_buckets + sums[-1])) + 1
        edges.append(min(end, len(sums)))
        before = int(sums[edges[-1] - 1])
    return np.array([*edges, len(sums)])


def equal_mass_buckets(counts: IntArray, n_buckets: int = 10, zero_bucket: bool = False) -> npt.NDArray[np.int64]:
    """Bucket of every id: 1 the most popular items, ``n_buckets`` the rarest, 0 padding and mask token.

    Items of equal frequency are sorted by id.

    Args:
        counts: training events per id, [N + 2].
        n_buckets: buckets of equal mass.
        zero_bucket: items absent from training get bucket ``n_buckets + 1`` instead of the last one.

    Returns:
        [N + 2] bucket numbers.

    Raises:
        SettingError: see :func:`equal_mass_edges`.

    Reference: PAD, frequency-aware gating. Differs: its ties are split by an unstable sort.
    """
    items = counts[1:-1]
    order = np.argsort(-items, kind="stable")
    edges = equal_mass_edges(items[order], n_buckets)
    buckets = np.zeros(len(counts), dtype=np.int64)
    buckets[1 + order] = np.repeat(np.arange(1, n_buckets + 1), np.diff(edges))
    if zero_bucket:
        buckets[1:-1][items == 0] = n_buckets + 1
    return buckets
