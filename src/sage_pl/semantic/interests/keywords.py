"""Interests as keywords of their items' texts: no language model, no network, seconds for a data set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from sage_pl.ranges import Count, Share, Width
from sage_pl.semantic.interests.protocol import Groups
from sage_pl.semantic.tables import FloatArray, normalised

if TYPE_CHECKING:
    from scipy.sparse import csr_array

CHUNK = 2048  # groups in a chunk
UNITS = "oz ounce ounces fl lb lbs pound pounds inch inches ft ml mg kg gram grams count ct pack packs pk size piece pieces pcs"
WORD = r"(?u)\b[^\W\d_]{2,}\b"  # letters alone


@dataclass(frozen=True)
class Keywords:
    """``<keyword>, <keyword>, ...: <the text of the group's most central item>`` for each group.

    The importance of a term x (a word or two) in a group g is its class-based TF-IDF,

        ``w_xg = tf_xg log(1 + A / f_x)``,

    with tf the group's counts scaled to sum 1, f_x the count of x and A the mean number of terms of an item, both over the
    catalogue. Of the ``candidates`` heaviest terms ``count`` are chosen one by one by maximal marginal relevance,

        ``argmax_x (1 - diversity) cos(x, g) - diversity max_(s chosen) cos(x, s)``,

    in a latent semantic space of the catalogue, g being the mean of its items there. Words within a chosen pair are dropped.
    Equal groups are described once.

    Args:
        count: keywords of a group.
        candidates: terms that keywords are chosen from.
        diversity: 0 ignores redundancy.
        dim: width of the latent space.
        min_count: least number of items with a term.
        max_words: most words of a phrase.

    Reference: BERTopic (Grootendorst 2022) for the weights, KeyBERT for the choice. Differs: A and f come from the catalogue
    with one class per item; a user's one to six groups are too few.
    """

    count: Count = 5
    candidates: Count = 20
    diversity: Share = 0.5
    dim: Width = 64
    min_count: Count = 2
    max_words: Count = 40

    libraries: ClassVar[tuple[str, ...]] = ("scikit-learn",)
    stores_answers: ClassVar[bool] = False

    def describe(self, texts: Sequence[str], users: Sequence[Groups]) -> Iterator[tuple[int, list[str] | None]]:
        distinct = list(dict.fromkeys(tuple(group) for groups in users for group in groups))
        phrases = dict(zip(distinct, self.phrases(texts, distinct), strict=True))
        for row, groups in enumerate(users):
            yield row, [phrases[tuple(group)] for group in groups]

    def phrases(self, texts: Sequence[str], groups: Sequence[Sequence[int]]) -> list[str]:
        """One phrase per group of item ids."""
        counts, terms = self._count(texts)
        items, words = self._latent_space(counts)
        with_terms = max(np.count_nonzero(np.diff(counts.indptr)), 1)
        idf = np.log1p(counts.sum() / with_terms / np.maximum(counts.sum(0), 1))
        phrases: list[str] = []
        for start in range(0, len(groups), CHUNK):
            part = groups[start : start + CHUNK]
            members = _memberships(part, len(texts))
            heaviest = _heaviest(members @ counts, idf, self.candidates)
            means = normalised(members @ items)
            chosen = most_relevant(words[heaviest], heaviest >= 0, means, self.count, self.diversity)
            for row, group in enumerate(part):
                keywords = ", ".join(_without_parts([terms[heaviest[row, i]] for i in chosen[row] if i >= 0]))
                central = texts[group[int((items[list(group)] @ means[row]).argmax())]]
                words_of_phrase = ": ".join(filter(None, [keywords, central])).split()
                phrases.append(" ".join(words_of_phrase[: self.max_words]))
        return phrases

    def _count(self, texts: Sequence[str]) -> tuple[csr_array, list[str]]:
        """Counts of terms, [R, terms], and the terms; padded to two, the least width of the decomposition."""
        from scipy.sparse import csr_array
        from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, CountVectorizer

        stop = sorted(ENGLISH_STOP_WORDS.union(UNITS.split()))
        vectorizer = CountVectorizer(ngram_range=(1, 2), stop_words=stop, token_pattern=WORD, min_df=self.min_count)
        try:
            counts = csr_array(vectorizer.fit_transform(texts), dtype=np.float64)
        except ValueError:  # no term is frequent enough
            return csr_array((len(texts), 2), dtype=np.float64), ["", ""]
        names = vectorizer.get_feature_names_out().tolist()
        counts.resize(len(texts), max(len(names), 2))
        return counts, [*names, ""]

    def _latent_space(self, counts: csr_array) -> tuple[FloatArray, FloatArray]:
        """Unit vectors of items [R, dim] and terms [terms, dim]."""
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfTransformer

        weights = TfidfTransformer(sublinear_tf=True).fit_transform(counts)
        svd = TruncatedSVD(min(self.dim, *weights.shape), random_state=0)
        with np.errstate(invalid="ignore"):  # explained share of zero variance
            return normalised(svd.fit_transform(weights)), normalised(svd.components_.T)


def _memberships(groups: Sequence[Sequence[int]], n_rows: int) -> Any:
    from scipy.sparse import csr_array

    items = np.concatenate([np.asarray(group) for group in groups])
    offsets = np.concatenate([[0], np.cumsum([len(group) for group in groups])])
    return csr_array((np.ones(len(items)), items, offsets), shape=(len(groups), n_rows))


def _heaviest(counts: csr_array, idf: FloatArray, n: int) -> npt.NDArray[np.int64]:
    """The n terms of largest c-TF-IDF of every row, heaviest first, equal ones by number; -1 fills short rows."""
    counts = counts.tocsr()
    counts.sum_duplicates()
    rows = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
    weights = counts.data / counts.sum(1)[rows] * idf[counts.indices]
    order = np.lexsort((counts.indices, -np.round(weights, 12), rows))
    place = np.arange(len(rows)) - counts.indptr[rows]
    first = place < n
    terms = np.full((counts.shape[0], n), -1)
    terms[rows[first], place[first]] = counts.indices[order][first]
    return terms


def most_relevant(
    words: FloatArray, valid: npt.NDArray[np.bool_], groups: FloatArray, n: int, diversity: float
) -> npt.NDArray[np.int64]:
    """Maximal marginal relevance of all groups at once: positions [G, min(n, C)] of the chosen candidates, in order.

    Args:
        words: unit vectors of the candidates [G, C, D].
        valid: mask of the candidates [G, C]; -1 fills groups with too few.
        groups: unit vectors [G, D].
        n: number of choices.
        diversity: weight of the redundancy.
    """
    relevance = np.einsum("gcd,gd->gc", words, groups)
    nearest = np.zeros_like(relevance)
    rows, chosen = np.arange(len(words)), []
    for step in range(min(n, words.shape[1])):
        score = np.where(valid, np.round((1 - diversity) * relevance - diversity * nearest, 9), -np.inf)
        pick = score.argmax(1)
        chosen.append(np.where(valid.any(1), pick, -1))
        likeness = np.einsum("gcd,gd->gc", words, words[rows, pick])
        nearest = likeness if step == 0 else np.maximum(nearest, likeness)
        valid = valid & (np.arange(words.shape[1]) != pick[:, None])
    return np.stack(chosen, axis=1)


def _without_parts(terms: list[str]) -> list[str]:
    """Terms without the words within a pair among them."""
    parts = {word for term in terms if " " in term for word in term.split()}
    return [term for term in terms if term not in parts]
