"""k-means that gives the same clusters in every run."""

from __future__ import annotations

from typing import Any

import numpy as np

from sage_pl.semantic.tables import FloatArray


def repeatable_kmeans(points: FloatArray, clusters: int, seed: int) -> Any:
    """scikit-learn's ``KMeans`` of points [M, D]: so many clusters, or as many as there are distinct points."""
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    count = min(clusters, len(np.unique(points, axis=0)))
    with threadpool_limits(1):  # with several, the order of summation, and so the result, differs between runs
        return KMeans(count, n_init=1, random_state=seed).fit(points)
