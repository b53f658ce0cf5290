"""Residual quantisation: a vector as a sum of codebook rows, each the nearest to the residual of the rows before."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from sage_pl.semantic.memberships import IntArray
from sage_pl.semantic.tables import FloatArray
from sage_pl.semantic.tokenizer.views import Views

CHUNK = 8192


class Quantised(NamedTuple):
    """A fitted quantiser: the latent vectors [N, e] and the codebooks [T, V, e], both float32."""

    latent: FloatArray
    codebooks: FloatArray


class Quantiser(Protocol):
    """Fits codebooks."""

    @property
    def libraries(self) -> tuple[str, ...]:
        """Packages whose version can change the result."""
        ...

    def fit(self, views: Views, seed: int, out: Path | None = None) -> Quantised:
        """Fit to the items; writes the losses of a training into the folder ``out``."""
        ...


def squared_distances(rows: FloatArray, centres: FloatArray) -> FloatArray:
    """``|r_i - c_v|^2``, [N, V], never negative."""
    squares = (rows**2).sum(axis=1)[:, None] + (centres**2).sum(axis=1)
    return np.maximum(squares - 2 * rows @ centres.T, 0)


def nearest(rows: FloatArray, centres: FloatArray) -> IntArray:
    """The nearest centre of every row, [N]; of equally near ones the first."""
    parts = (rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK))
    return np.concatenate([squared_distances(part, centres).argmin(axis=1) for part in parts])


def residual_codes(latent: FloatArray, codebooks: FloatArray) -> tuple[IntArray, FloatArray]:
    """Greedy codes, and the last level's input.

    ``r_1 = z; c_t = argmin_v |r_t - C_t[v]|^2; r_{t+1} = r_t - C_t[c_t]``.

    Args:
        latent: z [N, e].
        codebooks: C [T, V, e].

    Returns:
        codes [N, T] and r_T [N, e].
    """
    codes: list[IntArray] = []
    residual = latent
    for level, codebook in enumerate(codebooks):
        if level:
            residual = residual - codebooks[level - 1][codes[-1]]
        codes.append(nearest(residual, codebook))
    return np.stack(codes, axis=1), residual


def decoded(codes: IntArray, codebooks: FloatArray) -> FloatArray:
    """``sum_t C_t[c_t]``, [N, e], without the suffix after the T levels."""
    return sum((codebook[codes[:, level]] for level, codebook in enumerate(codebooks)), np.zeros(1, codebooks.dtype))
