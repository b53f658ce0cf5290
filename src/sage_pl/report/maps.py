"""Item vectors on a plane by UMAP; a second map starts from the first, which keeps items in place."""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt

from sage_pl.report.blocks import MissingError
from sage_pl.semantic import projection
from sage_pl.semantic.tables import normalised

FloatArray = npt.NDArray[np.floating]
LEAST = 20  # items of a map
_NEIGHBOURS = 15


def project(vectors: FloatArray, start: FloatArray | None, seed: int) -> FloatArray:
    """Positions [M, 2] by UMAP of cosine distances.

    Args:
        vectors: [M, D].
        start: [M, 2] initial positions; None for spectral initialisation.
        seed: of UMAP.

    Raises:
        MissingError: too few items, or a package is not installed.
    """
    if len(vectors) < LEAST:
        raise MissingError(f"a map of {len(vectors)} items would say nothing; {LEAST} are needed")
    init: str | FloatArray = "spectral"
    if start is not None:
        init = ((start - start.mean(0)) / max(float(start.std()), 1e-9)).astype(np.float32)
    rows = normalised(np.asarray(vectors, np.float32))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about one thread, and about disconnected items
            return projection.project(rows, _NEIGHBOURS, seed, min_dist=0.12, init=init)
    except ImportError as error:
        raise MissingError("maps need umap-learn and faiss-cpu: pip install 'sage-pl[semantic]'") from error
