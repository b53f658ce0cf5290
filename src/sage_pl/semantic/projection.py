"""UMAP from exact nearest neighbours."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from sage_pl.semantic.tables import FloatArray

_BLOCK = 4096  # rows whose distances are made at once


def project(points: FloatArray, n_neighbors: int, seed: int | None, **settings: Any) -> FloatArray:
    """Positions of points by UMAP of Euclidean distances, the same in every call with a seed.

    Neighbours are searched exhaustively by FAISS: UMAP's own search is approximate, and compiled anew in every process.

    Args:
        points: [N, D], N > ``n_neighbors``.
        n_neighbors: of a point, itself included.
        seed: of UMAP; None runs on several threads, with a result that differs between calls.
        settings: further ones of ``umap.UMAP``.

    Returns:
        [N, n_components] float32.

    Raises:
        ImportError: umap-learn is not installed.
    """
    from umap import UMAP

    points = np.ascontiguousarray(points, dtype=np.float32)
    neighbours = nearest(points, n_neighbors)
    jobs = -1 if seed is None else 1
    umap = UMAP(n_neighbors, random_state=seed, n_jobs=jobs, precomputed_knn=(*neighbours, None), **settings)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"precomputed_knn\[2\]")  # a search for later points, of which there are none
        return umap.fit_transform(points)


def nearest(points: FloatArray, k: int) -> tuple[npt.NDArray[np.int64], FloatArray]:
    """The k nearest points of every point by Euclidean distance, itself first and the others nearest first.

    Args:
        points: [N, D] float32, N > k.
        k: number of points, itself included.

    Returns:
        Indices [N, k] and distances [N, k] float32.
    """
    _, ids = quiet_faiss().knn(points, points, k)
    itself = np.arange(len(points))[:, None]
    rest = np.argsort(ids == itself, axis=1, kind="stable")[:, : k - 1]  # without the last one, where it has k equals
    ids = np.hstack([itself, np.take_along_axis(ids, rest, axis=1)])
    distances = _distances(points, points, ids)
    order = np.argsort(distances, axis=1, kind="stable")
    return np.take_along_axis(ids, order, axis=1), np.take_along_axis(distances, order, axis=1)


def nearest_of(points: FloatArray, known: FloatArray, k: int) -> tuple[npt.NDArray[np.int64], FloatArray]:
    """The k of the known points nearest to every point by Euclidean distance, by exhaustive search.

    Args:
        points: [N, D].
        known: [M, D], M >= k.
        k: number of known points.

    Returns:
        Rows of ``known`` [N, k] and distances [N, k] float32.
    """
    points, known = (np.ascontiguousarray(rows, dtype=np.float32) for rows in (points, known))
    _, ids = quiet_faiss().knn(points, known, k)
    return ids, _distances(points, known, ids)


def _distances(points: FloatArray, known: FloatArray, ids: npt.NDArray[np.int64]) -> FloatArray:
    """Distances [N, k] to rows of ``known``; those of FAISS, of products, are inexact for near points."""
    distances = np.empty(ids.shape, dtype=np.float32)
    for start in range(0, len(points), _BLOCK):
        block = slice(start, start + _BLOCK)
        steps = known[ids[block]].astype(np.float64) - points[block, None]
        distances[block] = np.sqrt(np.einsum("nkd,nkd->nk", steps, steps))
    return distances


def quiet_faiss() -> Any:
    """The package faiss, whose loader logs what it tries."""
    logging.getLogger("faiss.loader").setLevel(logging.WARNING)
    import faiss

    return faiss
