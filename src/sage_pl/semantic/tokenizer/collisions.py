"""Unique code strings: few items move to near last codes, or a suffix is added."""

from __future__ import annotations

import numpy as np

from sage_pl.semantic.memberships import IntArray
from sage_pl.semantic.tables import FloatArray
from sage_pl.semantic.tokenizer.residual import squared_distances


def group_sizes(codes: IntArray) -> IntArray:
    """Number of items with the same row of codes, itself included, [N]."""
    _, group, counts = np.unique(codes, axis=0, return_inverse=True, return_counts=True)
    return counts[group]


def occurrence(codes: IntArray) -> IntArray:
    """Number of earlier items with the same row of codes, [N]: 0, 1, 2, ..."""
    _, group, counts = np.unique(codes, axis=0, return_inverse=True, return_counts=True)
    order = np.argsort(group, kind="stable")
    first = np.repeat(np.cumsum(counts) - counts, counts)
    earlier = np.empty(len(codes), dtype=np.int64)
    earlier[order] = np.arange(len(codes)) - first
    return earlier


def suffixed(codes: IntArray) -> IntArray:
    """Codes with one more level that numbers the items of each string 0, 1, 2, ...; unchanged without shared strings.

    Reference: TIGER, which always adds the level.
    """
    suffix = occurrence(codes)
    return np.column_stack([codes, suffix]) if suffix.any() else codes


def matched(codes: IntArray, residuals: FloatArray, codebook: FloatArray) -> IntArray:
    """Last codes changed so that all strings are unique, at least cost: few moves first, then short ones.

    The items with the same T - 1 first codes are a group. In a group with a duplicate, items i are matched with the V last
    codes v to minimise ``sum_i M [v_i != c_iT] + |r_i - C_T[v_i]|^2``, M above any sum of distances: exactly as many items
    move as there are duplicates, to the nearest free codes, and an item alone on its string stays.

    A group of more than V items is cut into parts of at most V, the first of each string in the first part. Each part is
    matched, and a suffix level holds the number of the part (0 for all other items): the smallest suffix possible.

    Args:
        codes: c [N, T].
        residuals: r [N, e], the input of the last level.
        codebook: C_T [V, e].

    Returns:
        [N, T] codes, or [N, T + 1] where a group is larger than V.

    Reference: CollisionGenRec, zero-collision re-assignment. Differs: its code leaves larger groups out.
    """
    codes, part = codes.copy(), np.zeros(len(codes), dtype=np.int64)
    _, group, counts = np.unique(codes[:, :-1], axis=0, return_inverse=True, return_counts=True)
    members = np.split(np.argsort(group, kind="stable"), np.cumsum(counts)[:-1])
    rank = occurrence(codes)
    for g in np.unique(group[rank > 0]):
        items = members[g][np.argsort(rank[members[g]], kind="stable")]
        for number, start in enumerate(range(0, len(items), len(codebook))):
            rows = items[start : start + len(codebook)]
            codes[rows, -1] = _assignment(squared_distances(residuals[rows], codebook), codes[rows, -1])
            part[rows] = number
    return np.column_stack([codes, part]) if part.any() else codes


def _assignment(distances: FloatArray, current: IntArray) -> IntArray:
    """A different code for every row of ``distances`` [n, V], n <= V, keeping ``current`` wherever possible."""
    from scipy.optimize import linear_sum_assignment

    cost = distances.astype(np.float64)
    move = cost.max(axis=1).sum() + 1  # above any sum of distances
    cost += move
    cost[np.arange(len(current)), current] -= move
    return linear_sum_assignment(cost)[1]
