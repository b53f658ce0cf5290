"""Item tables: one row per item id, with zero rows for padding (0) and the mask token (N + 1)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating[Any]]


def padded(rows: FloatArray) -> npt.NDArray[np.float32]:
    """The rows of items 1..N as a float32 table [N + 2, D] whose row i belongs to item i."""
    table = np.zeros((len(rows) + 2, rows.shape[1]), dtype=np.float32)
    table[1:-1] = rows
    return table


def normalised(rows: FloatArray) -> FloatArray:
    """Rows divided by their Euclidean norm; zero rows stay zero."""
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)
