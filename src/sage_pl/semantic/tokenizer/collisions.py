"""Items that share a code string are told apart: by moving few of them to near last codes, or by a suffix."""

from __future__ import annotations

import numpy as np

from sage_pl.semantic.memberships import IntArray
from sage_pl.semantic.tables import FloatArray
from sage_pl.semantic.tokenizer.residual import squared_distances


def group_sizes(codes: IntArray) -> IntArray:
    """How many items have the very same row of codes, [N]; an item alone counts 1."""
    _, group, counts = np.unique(codes, axis=0, return_inverse=True, return_counts=True)
    return counts[group]


def occurrence(codes: IntArray) -> IntArray:
    """How many earlier items have the very same row of codes, [N]: 0 for the first of them, then 1, 2, ..."""
    _, group, counts = np.unique(codes, axis=0, return_inverse=True, return_counts=True)
    order = np.argsort(group, kind="stable")
    first = np.repeat(np.cumsum(counts) - counts, counts)
    earlier = np.empty(len(codes), dtype=np.int64)
    earlier[order] = np.arange(len(codes)) - first
    return earlier


def suffixed(codes: IntArray) -> IntArray:
    """Codes with one more level that numbers the items of each code string 0, 1, 2, ...; unchanged if none is shared.

    Reference: TIGER, which adds the level in any case.
    """
    extra = occurrence(codes)
    return np.column_stack([codes, extra]) if extra.any() else codes


def matched(codes: IntArray, residuals: FloatArray, codebook: FloatArray) -> IntArray:
    """Last codes changed so that no two items share a string, at least cost: few moves first, then short ones.

    The items with the same T - 1 first codes are a group. In a group with a duplicate, items i are matched with the V last
    codes v to minimise ``sum_i M [v_i != own_i] + |r_i - C_T[v_i]|^2``, M above any sum of distances: exactly as many
    move as there are duplicates, to the nearest free codes, and an item alone on its string stays.

    A group of more than V items cannot be told apart so. It is cut into parts of at most V, those that are first on
    their string in the first part, each part is matched, and a suffix level holds the number of the part (0 for all
    other items): the smallest suffix there can be.

    Args:
        codes: [N, T].
        residuals: r [N, e], what the last level describes.
        codebook: C_T [V, e].

    Returns:
        [N, T] codes, or [N, T + 1] where a group is larger than V.

    Reference: CollisionGenRec, zero-collision re-assignment, whose larger groups are not handled.
    """
    codes, part = codes.copy(), np.zeros(len(codes), dtype=np.int64)
    _, group, counts = np.unique(codes[:, :-1], axis=0, return_inverse=True, return_counts=True)
    members = np.split(np.argsort(group, kind="stable"), np.cumsum(counts)[:-1])
    rank = occurrence(codes)
    for g in np.unique(group[rank > 0]):
        items = members[g][np.argsort(rank[members[g]], kind="stable")]
        for number, start in enumerate(range(0, len(items), len(codebook))):
            some = items[start : start + len(codebook)]
            codes[some, -1] = _assignment(squared_distances(residuals[some], codebook), codes[some, -1])
            part[some] = number
    return np.column_stack([codes, part]) if part.any() else codes


def _assignment(distances: FloatArray, own: IntArray) -> IntArray:
    """A different code for every row of ``distances`` [n, V], n <= V, keeping ``own`` wherever possible."""
    from scipy.optimize import linear_sum_assignment

    cost = distances.astype(np.float64)
    moved = cost.max(axis=1).sum() + 1  # more than any sum of distances
    cost += moved
    cost[np.arange(len(own)), own] -= moved
    return linear_sum_assignment(cost)[1]
