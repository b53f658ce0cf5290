"""Item vectors on a plane by UMAP or t-SNE; a second map starts from the first, which keeps items in place."""

from __future__ import annotations

import warnings
from typing import Literal

import numpy as np
import numpy.typing as npt

from sage_pl.report.blocks import MissingError
from sage_pl.semantic import projection
from sage_pl.semantic.tables import normalised

FloatArray = npt.NDArray[np.floating]
LEAST = 20  # items of a map
_NEIGHBOURS = 15  # of UMAP
_PERPLEXITY = 30  # of t-SNE
Layout = Literal["umap", "tsne"]
NAMES: dict[Layout, str] = {"umap": "UMAP", "tsne": "t-SNE"}


def project(vectors: FloatArray, start: FloatArray | None, seed: int, layout: Layout = "umap") -> FloatArray:
    """Positions [M, 2] by UMAP or t-SNE of cosine distances.

    Args:
        vectors: [M, D].
        start: [M, 2] initial positions; None for a spectral start (UMAP), principal components (t-SNE).
        seed: of the layout.
        layout: of the two.

    Raises:
        MissingError: too few items, or a package is not installed.
    """
    if len(vectors) < LEAST:
        raise MissingError(f"a map of {len(vectors)} items would say nothing; {LEAST} are needed")
    rows = normalised(np.asarray(vectors, np.float32))
    place = None if start is None else ((start - start.mean(0)) / max(float(start.std()), 1e-9)).astype(np.float32)
    return _tsne(rows, place, seed) if layout == "tsne" else _umap(rows, place, seed)


def _umap(rows: FloatArray, place: FloatArray | None, seed: int) -> FloatArray:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about one thread, and about disconnected items
            init = "spectral" if place is None else place
            return projection.project(rows, _NEIGHBOURS, seed, min_dist=0.12, init=init)
    except ImportError as error:
        raise MissingError("maps need umap-learn and faiss-cpu: pip install 'sage-pl[semantic]'") from error


def _tsne(rows: FloatArray, place: FloatArray | None, seed: int) -> FloatArray:
    try:
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise MissingError("maps by t-SNE need scikit-learn: pip install 'sage-pl[semantic]'") from error
    perplexity = min(_PERPLEXITY, (len(rows) - 1) / 3)
    init = "pca" if place is None else place * 1e-4  # of the spread that t-SNE's own start has
    return TSNE(perplexity=perplexity, metric="cosine", init=init, random_state=seed, n_jobs=1).fit_transform(rows)
