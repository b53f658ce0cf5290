"""Residual k-means."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from sage_pl.errors import SettingError
from sage_pl.ranges import Count, Depth, Weight, Width
from sage_pl.semantic.tables import FloatArray
from sage_pl.semantic.tokenizer.residual import Quantised, nearest
from sage_pl.semantic.tokenizer.views import Views


@dataclass(frozen=True)
class ResidualKMeans:
    """k-means of the vectors, then of their residuals, level by level.

    The vectors are ``z_i = [s_i ; sqrt(pull) t_i]``, s the source and t the target, so that a codebook row is near an item if
    ``|s_i - C^s|^2 + pull |t_i - C^t|^2`` is small.

    Args:
        levels: T.
        codes: V, codes per level.
        pull: weight of the target: 0 for none, 1 for both views alike.
        iterations: most rounds of Lloyd's algorithm per level.

    Raises:
        ValueError: a setting is out of range, or there are fewer items than codes.
    """

    levels: Depth = 3
    codes: Width = 256
    pull: Weight = 0.5
    iterations: Count = 30

    libraries: ClassVar[tuple[str, ...]] = ("scikit-learn",)

    def __post_init__(self) -> None:
        object.__setattr__(self, "pull", float(self.pull))
        if min(self.levels, self.codes, self.iterations) < 1 or self.pull < 0:
            raise SettingError(f"{self} wants at least one level, code and iteration, and a pull of at least 0")

    def fit(self, views: Views, seed: int, out: Path | None = None) -> Quantised:
        """Codebooks [T, V, e] for the items' vectors [N, e]."""
        parts = [views.source]
        if views.target is not None and self.pull:
            parts.append(np.sqrt(self.pull) * views.target)
        latent = np.hstack(parts).astype(np.float32)
        return Quantised(latent, codebooks(latent, self.levels, self.codes, self.iterations, seed))


def codebooks(latent: FloatArray, levels: int, codes: int, iterations: int, seed: int) -> FloatArray:
    """k-means centres of the rows [N, e] and of their residuals, level by level: [levels, codes, e].

    On one thread: with several, the order of summation, and so the result, differs between runs.

    Raises:
        ValueError: there are fewer rows than codes.
    """
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    if len(latent) < codes:
        raise SettingError(f"{len(latent)} items are too few for {codes} codes; set steps.tokens.quantiser.codes lower")
    books, residual = [], latent
    with threadpool_limits(1):
        for level in range(levels):
            means = KMeans(codes, n_init=1, max_iter=iterations, random_state=seed + level).fit(residual)
            books.append(means.cluster_centers_)
            residual = residual - books[-1][nearest(residual, books[-1])]
    return np.stack(books)
