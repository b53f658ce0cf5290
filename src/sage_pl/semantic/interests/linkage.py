"""Average-linkage clustering and silhouettes of many small point sets at once.

All sets of one call have the same number n of points, so every step is one array operation over the sets; no set influences
another.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sage_pl.semantic.tables import FloatArray

IntArray = npt.NDArray[np.integer]
DECIMALS = 6  # distances closer than this are ties, so that rounding errors decide nothing


def cosine_distances(points: FloatArray) -> npt.NDArray[np.float64]:
    """``1 - <x_i, x_j>`` of unit vectors, rounded, [B, n, D] -> [B, n, n]; the diagonal is exactly 0."""
    points = points.astype(np.float64)
    distances = np.round(1 - points @ points.transpose(0, 2, 1), DECIMALS)
    diagonal = np.arange(points.shape[1])
    distances[:, diagonal, diagonal] = 0
    return distances


def average_linkage(distances: FloatArray, n_clusters: int) -> tuple[IntArray, FloatArray]:
    """Labels at every number of clusters from 1 to ``n_clusters`` of the agglomerative hierarchy, and how far apart they are.

    The two nearest clusters are joined until one is left, their distance being the mean over all pairs of members; of equal
    distances the pair of lowest indices goes first.

    Args:
        distances: [B, n, n], symmetric.
        n_clusters: the largest number of clusters asked for, at most n.

    Returns:
        Labels [n_clusters, B, n]; row K - 1 holds K clusters. A label is the index of the cluster's first point.
        Distances [n_clusters, B] between the nearest two of the K clusters; infinite for one.
    """
    n_sets, n, _ = distances.shape
    between, sets, points = np.array(distances, dtype=np.float64), np.arange(n_sets), np.arange(n)
    between[:, points, points] = np.inf
    size = np.ones((n_sets, n))
    labels = np.broadcast_to(points, (n_sets, n)).copy()
    cuts, gaps = np.zeros((n_clusters, n_sets, n), dtype=np.int64), np.full((n_clusters, n_sets), np.inf)
    for left in range(n, 0, -1):
        if left <= n_clusters:
            cuts[left - 1], gaps[left - 1] = labels, between.min((1, 2))
        if left == 1:
            break
        kept, gone = np.divmod(np.round(between, DECIMALS).reshape(n_sets, -1).argmin(1), n)  # kept < gone
        a, b = size[sets, kept], size[sets, gone]
        with np.errstate(invalid="ignore"):  # joined clusters are infinitely far
            merged = (a[:, None] * between[sets, kept] + b[:, None] * between[sets, gone]) / (a + b)[:, None]
        between[sets, kept] = between[sets, :, kept] = merged
        between[sets, gone] = between[sets, :, gone] = np.inf
        between[sets, kept, kept] = np.inf
        size[sets, kept] = a + b
        labels = np.where(labels == gone[:, None], kept[:, None], labels)
    return cuts, gaps


def silhouettes(distances: FloatArray, labels: IntArray) -> npt.NDArray[np.float64]:
    """Mean over a set's points of ``(b - a) / max(a, b)``, [B]; for at least two clusters.

    a is a point's mean distance to the others of its cluster, b the least mean distance to another cluster. A point alone in
    its cluster counts 0 (Rousseeuw 1987), as does one with a = b = 0.

    Args:
        distances: [B, n, n].
        labels: [B, n], numbers below n.
    """
    n = labels.shape[1]
    member = (labels[:, :, None] == np.arange(n)).astype(np.float64)  # [B, n points, n labels]
    sums, count = distances @ member, member.sum(1)[:, None, :]
    own = member.astype(bool)
    own_size = (member * count).sum(2)
    a = (sums * member).sum(2) / np.maximum(own_size - 1, 1)
    others = np.divide(sums, count, out=np.full_like(sums, np.inf), where=(count > 0) & ~own)
    b = others.min(2)
    larger = np.maximum(a, b)
    each = np.divide(b - a, larger, out=np.zeros_like(a), where=(larger > 0) & (own_size > 1))
    return each.mean(1)
