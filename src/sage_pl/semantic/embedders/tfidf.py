"""Item vectors from word counts: no model, no network, seconds on any machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from sage_pl.errors import SettingError
from sage_pl.ranges import Count, Seed, Width
from sage_pl.semantic.embedders.protocol import Encode, TextEmbedder
from sage_pl.semantic.tables import normalised


@dataclass(frozen=True)
class TfidfEmbedder(TextEmbedder):
    """TF-IDF of words and word pairs, reduced by a truncated singular value decomposition (latent semantic analysis).

    Args:
        dim: width of the vectors, less than the number of items and of distinct terms.
        min_count: least number of items with a term.
        seed: of the randomised decomposition.

    Writes:
        ``table.npy`` float32 [R, dim]; rows have norm 1, or 0 for a text without frequent terms.

    Raises:
        SettingError: the texts have no terms, or too few for ``dim``.
    """

    dim: Width = 384
    min_count: Count = 1
    seed: Seed = 0

    version: ClassVar[int] = 2  # 1: zero rows had a say in the components
    libraries: ClassVar[tuple[str, ...]] = ("scikit-learn",)

    def fitted(self, known: Sequence[str]) -> Encode:
        """What encodes texts by the terms and components of the known ones."""
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer

        terms = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=self.min_count, dtype=np.float64)
        weights = terms.fit_transform(known)
        if not 1 <= self.dim < min(weights.shape):
            raise SettingError(
                f"cannot make {self.dim} dimensions of {weights.shape[0]} texts with {weights.shape[1]} distinct terms; "
                f"set steps.embed.dim to 1..{min(weights.shape) - 1}"
            )
        svd = TruncatedSVD(self.dim, random_state=self.seed)
        rows = svd.fit_transform(weights)

        def encode(texts: Sequence[str]) -> npt.NDArray[np.float32]:
            return normalised(rows if texts is known else svd.transform(terms.transform(texts))).astype(np.float32)

        return encode
