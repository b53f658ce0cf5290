"""Average-linkage clustering and silhouettes of many small point sets at once.

All sets of one call have the same number n of points, so every step is one array operation over the sets; sets are independent.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sage_pl.semantic.tables import FloatArray

IntArray = npt.NDArray[np.integer]
DECIMALS = 6  # distances that agree to these are ties, so that rounding errors have no effect


def cosine_distances(points: FloatArray) -> npt.NDArray[np.float64]:
    """``1 - <x_i, x_j>`` of unit vectors, rounded, [B, n, D] -> [B, n, n]; the diagonal is exactly 0."""
    points = points.astype(np.float64)
    distances = np.round(1 - points @ points.transpose(0, 2, 1), DECIMALS)
    diagonal = np.arange(points.shape[1])
    distances[:, diagonal, diagonal] = 0
    return distances


def average_linkage(distances: FloatArray, n_clusters: int) -> tuple[IntArray, FloatArray]:
    """Labels of 1 to ``n_clusters`` clusters of the agglomerative hierarchy, and the clusters' least distances.

    The two nearest clusters are joined until one is left. The distance of two clusters is the mean over all pairs of members;
    of equal distances the pair of lowest indices goes first.

    Args:
        distances: [B, n, n], symmetric.
        n_clusters: at most n.

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
        i, j = np.divmod(np.round(between, DECIMALS).reshape(n_sets, -1).argmin(1), n)  # i < j; j joins i
        a, b = size[sets, i], size[sets, j]
        with np.errstate(invalid="ignore"):  # joined clusters are infinitely far
            merged = (a[:, None] * between[sets, i] + b[:, None] * between[sets, j]) / (a + b)[:, None]
        between[sets, i] = between[sets, :, i] = merged
        between[sets, j] = between[sets, :, j] = between[sets, i, i] = np.inf
        size[sets, i] = a + b
        labels = np.where(labels == j[:, None], i[:, None], labels)
    return cuts, gaps


def silhouettes(distances: FloatArray, labels: IntArray) -> npt.NDArray[np.float64]:
    """Mean over a set's points of ``(b - a) / max(a, b)``, [B]; for at least two clusters.

    a is a point's mean distance to the others of its cluster, b the least mean distance to another cluster. Points alone in
    their cluster have silhouette 0 (Rousseeuw 1987), as have those with a = b = 0.

    Args:
        distances: [B, n, n].
        labels: [B, n], numbers below n.
    """
    n = labels.shape[1]
    member = (labels[:, :, None] == np.arange(n)).astype(np.float64)  # [B, n points, n labels]
    sums, count = distances @ member, member.sum(1)[:, None, :]
    size = (member * count).sum(2)
    a = (sums * member).sum(2) / np.maximum(size - 1, 1)
    b = np.divide(sums, count, out=np.full_like(sums, np.inf), where=(count > 0) & (member == 0)).min(2)
    larger = np.maximum(a, b)
    return np.divide(b - a, larger, out=np.zeros_like(a), where=(larger > 0) & (size > 1)).mean(1)
