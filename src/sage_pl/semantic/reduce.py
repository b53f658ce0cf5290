"""Item vectors reduced to the width of the collaborative view."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from sage_pl.artifacts.store import Artifact
from sage_pl.errors import SettingError
from sage_pl.ranges import Weight, Width
from sage_pl.semantic.tables import FloatArray

log = logging.getLogger(__name__)

_LEAST = 2  # items
_NO_VARIANCE = 1e-7  # of a singular value, relative to the largest: about the root of float64's precision


@dataclass(frozen=True)
class Reduce:
    """Principal components: ``(x - mean) V``, with V the ``dim`` leading eigenvectors of the items' covariance.

    The decomposition is exact and the sign of every component fixed, so the result is deterministic. An item whose vector is
    zero, of which nothing is known, stays zero and counts for nothing.

    Args:
        dim: number of components, at most the width of the embedding and the number of items (64 in the reference).
        whiten: divide every component by its standard deviation (off in the reference).
        ridge: lambda, which controls the spectrum: with the centred vectors' decomposition ``U S V^T``, component k becomes
            ``U_k sqrt(S_k^2 / (S_k^2 + lambda))``. 0 whitens up to one factor, a large lambda gives the shape of the plain
            components; None leaves these as they are. Entries are of the order ``1 / sqrt(N)``: set
            ``item_encoder.init_std=0.02`` beside it.

    Writes:
        ``table.npy`` float32 [R, dim] and ``explained.npy`` float32 [dim], the share of variance of each component.

    Raises:
        SettingError: ``dim`` is larger than the data allow, or ``ridge`` is set with ``whiten``.

    Reference: SAGE code line, ``pca64_itm_emb_np.pkl``; ACE (SIGIR 2026) for ``ridge``, 500 there. Differs: the code line's
    solver is randomised and unseeded.
    """

    dim: Width = 64
    whiten: bool = False
    ridge: Weight | None = None

    name: ClassVar[str] = "reduce"
    version: ClassVar[int] = 1
    inputs: ClassVar[tuple[str, ...]] = ("embed",)
    libraries: ClassVar[tuple[str, ...]] = ("scikit-learn",)

    def __post_init__(self) -> None:
        if self.whiten and self.ridge is not None:
            raise SettingError(
                f"steps.reduce has whiten=true and ridge={self.ridge}, wanted one of them; ridge=0 whitens up to one factor"
            )

    def fingerprint(self) -> dict[str, Any]:
        """The settings, without ``ridge`` where it is off: artifacts made before it existed stay valid."""
        return {"dim": self.dim, "whiten": self.whiten} | ({} if self.ridge is None else {"ridge": self.ridge})

    def run(self, inputs: Mapping[str, Artifact], out: Path) -> None:
        rows = np.asarray(inputs["embed"].array("table")[1:-1], dtype=np.float64)
        most = _most(rows)
        if not 1 <= self.dim <= most:
            raise SettingError(
                f"cannot reduce {rows.any(axis=1).sum()} items of width {rows.shape[1]} to {self.dim} components; "
                f"set steps.reduce.dim to 1..{most} or take an embedder with wider vectors"
            )
        write_components(rows, self.dim, self.whiten, out, self.ridge)


@dataclass(frozen=True)
class Intermediate:
    """The ``min(dim, N, D)`` leading principal components, as :class:`Reduce` computes them.

    Vectors no wider than ``dim``, as those of small encoders, keep every component: a rotation of the centred vectors, which an
    affine adapter can undo.

    Args:
        dim: most components (1,536 in the paper, for vectors 4,096 wide).
        whiten: divide every component by its standard deviation (off in the paper).

    Writes:
        ``table.npy`` float32 [R, D'] and ``explained.npy`` float32 [D'], the share of variance of each component.

    Raises:
        SettingError: ``dim`` is below 1.

    Reference: LLMEmb, section on recommendation adaptation training. Differs: the decomposition is exact; the reference's
    solver is randomised and unseeded.
    """

    dim: Width = 1536
    whiten: bool = False

    name: ClassVar[str] = "intermediate"
    version: ClassVar[int] = 1
    inputs: ClassVar[tuple[str, ...]] = ("embed",)
    libraries: ClassVar[tuple[str, ...]] = ("scikit-learn",)

    def __post_init__(self) -> None:
        if self.dim < 1:
            raise SettingError(f"steps.intermediate.dim is {self.dim}, wanted at least 1")

    def run(self, inputs: Mapping[str, Artifact], out: Path) -> None:
        rows = np.asarray(inputs["embed"].array("table")[1:-1], dtype=np.float64)
        write_components(rows, min(self.dim, _most(rows)), self.whiten, out)


def _most(rows: FloatArray) -> int:
    """The largest number of components: of the width and of the items that are not zero."""
    return min(rows.shape[1], int(rows.any(axis=1).sum()))


def write_components(rows: FloatArray, dim: int, whiten: bool, out: Path, ridge: float | None = None) -> None:
    """Write the ``dim`` leading principal components of the items' vectors and their shares of the variance.

    Args:
        rows: the vectors of items 1..N, float64; rows of zeros stay zero and count for nothing.
        dim: components, at most the width and the number of rows that are not zero.
        whiten: divide every component by its standard deviation.
        out: the folder for ``table.npy`` [R, dim] and ``explained.npy`` [dim].
        ridge: lambda of :class:`Reduce`; None leaves the components as they are.

    Raises:
        SettingError: fewer than two rows are not zero.
    """
    from sklearn.decomposition import PCA

    pca = PCA(dim, whiten=whiten, svd_solver="covariance_eigh")
    has_vector = rows.any(axis=1)
    if has_vector.sum() < _LEAST:
        raise SettingError(
            f"components need {_LEAST} items with vectors that are not zero, got {has_vector.sum()}; take another embedder"
        )
    components = pca.fit_transform(rows if has_vector.all() else rows[has_vector])
    if ridge is not None:  # U S / sqrt(S^2 + lambda); a component without variance is 0
        scale = pca.singular_values_
        spread = scale > _NO_VARIANCE * scale[0]
        components = components * spread / np.sqrt(np.where(spread, scale, 1) ** 2 + ridge)
    table = np.zeros((len(rows) + 2, dim), np.float32)
    table[1:-1][has_vector] = components
    np.save(out / "table.npy", table)
    np.save(out / "explained.npy", pca.explained_variance_ratio_.astype(np.float32))
    share = pca.explained_variance_ratio_.sum()
    log.info("%d of %d components keep %.1f %% of the variance", dim, rows.shape[1], 100 * share)
