"""Large catalogues: a sample is projected and clustered, and every other item follows the sampled items near it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sage_pl.semantic.projection import nearest_of
from sage_pl.semantic.tables import FloatArray, IntArray, blocks


class Clustering(NamedTuple):
    """Positions in the projection [N, P], the cluster of each item [N], -1 for noise, and its strength p [N]."""

    projected: FloatArray
    labels: IntArray
    strength: FloatArray


def sample_of(n: int, size: int) -> IntArray:
    """``size`` of the rows 0..n - 1 in ascending order, the same in every call."""
    return np.sort(np.random.default_rng(0).choice(n, size, replace=False))


def carried(points: FloatArray, rows: IntArray, sample: Clustering, k: int) -> Clustering:
    """The clustering of all points from that of a sample, whose points keep theirs.

    Of the k sampled points nearest to another one, at distances ``d_j``, each has the weight ``w_j = d_j^-1 / sum_j d_j^-1``:

    - its position is the mean ``sum_j w_j y_j``;
    - its label l is that of the largest weight, noise included;
    - its strength is ``sum_j w_j p_j`` over the neighbours in l.

    Args:
        points: [N, D].
        rows: of the sample [M], ascending.
        sample: the clustering of ``points[rows]``.
        k: number of neighbours.

    Returns:
        Arrays of N rows.
    """
    everything = Clustering(*(np.zeros((len(points), *values.shape[1:]), values.dtype) for values in sample))
    for target, values in zip(everything, sample, strict=True):
        target[rows] = values
    others = np.setdiff1d(np.arange(len(points)), rows, assume_unique=True)
    known = points[rows]
    for _, block in blocks(others):
        near, distances = nearest_of(points[block], known, k)
        weights = 1 / np.maximum(distances.astype(np.float64), 1e-12)
        weights /= weights.sum(axis=1, keepdims=True)
        for target, values in zip(everything, _followed(near, weights, sample), strict=True):
            target[block] = values
    return everything


def _followed(near: IntArray, weights: FloatArray, sample: Clustering) -> Clustering:
    """The clustering of points by their neighbours in the sample and the weights of these, both [B, k]."""
    labels, n_columns = sample.labels[near], int(sample.labels.max()) + 2
    votes = np.arange(len(near))[:, None] * n_columns + labels + 1  # column 0 is noise
    totals = np.bincount(votes.ravel(), weights.ravel(), len(near) * n_columns).reshape(len(near), n_columns)
    label = totals.argmax(axis=1) - 1
    strength = (weights * sample.strength[near] * (labels == label[:, None])).sum(axis=1)
    return Clustering(np.einsum("bk,bkp->bp", weights, sample.projected[near]), label, strength)
