"""Metrics of recommended lists beyond hits: coverage of the catalogue, popularity, similarity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import polars as pl

from sage_pl.data.sequences import IntArray
from sage_pl.semantic.texts import attributes

if TYPE_CHECKING:
    from scipy.sparse import csr_array

_BLOCK = 4096  # lists that are bags of words at a time


def list_metrics(
    lists: IntArray, train_counts: IntArray, tail_items: npt.NDArray[np.bool_], words: csr_array | None = None
) -> dict[str, float]:
    """Metrics of all users' lists together; k is the longest list.

    - ``coverage@k``: share of the N items that are in any list.
    - ``gini@k``: inequality of the N items' numbers of lists, 0 = all equal, 1 - 1/N = one item alone.
    - ``tail_share@k``: share of the recommended items that are tail.
    - ``novelty@k``: mean self-information of the recommended items in bits, -log2 p(i) with
      p(i) = (c_i + 1) / sum_j (c_j + 1), c the training counts; 1 is added so that unseen items have a value.
    - ``text_similarity@k``: :func:`text_similarity`, where ``words`` is not None and a list has two items with text.

    Args:
        lists: [K, k] item ids, 0 where nothing was recommended; no id twice in a row.
        train_counts: [N + 2].
        tail_items: [N + 2].
        words: :func:`word_vectors`.

    Returns:
        Name -> value; the coverage alone, 0, where nothing is recommended.

    Reference: Castells, Hurley & Vargas, Novelty and Diversity in Recommender Systems, sections 3.1 to 3.3 (there without
        the 1, over users).
    """
    k, n_items = lists.shape[1], len(train_counts) - 2
    items = lists[lists > 0]
    times = np.bincount(items, minlength=n_items + 1)[1:]
    metrics = {"coverage": float(np.count_nonzero(times) / n_items)}
    if len(items):
        smooth = train_counts[1:-1] + 1
        bits = -np.log2(smooth / smooth.sum())
        metrics["gini"] = gini(times)
        metrics["tail_share"] = float(tail_items[items].mean())
        metrics["novelty"] = float(bits[items - 1].mean())
    similarity = None if words is None else text_similarity(lists, words)
    if similarity is not None:
        metrics["text_similarity"] = similarity
    return {f"{name}@{k}": value for name, value in metrics.items()}


def gini(times: IntArray) -> float:
    """Gini coefficient of numbers that are not all 0: sum_i (2i - N - 1) x_(i) / (N sum_i x_i), x ascending, i from 1.

    >>> gini(np.array([1, 1, 1, 1])), gini(np.array([0, 0, 0, 8]))
    (0.0, 0.75)
    """
    n = len(times)
    return float((2 * np.arange(1, n + 1) - n - 1) @ np.sort(times) / (n * times.sum()))


def text_similarity(lists: IntArray, words: csr_array) -> float | None:
    """Mean over lists of the mean cosine of two of its items; None if no list has two items with words.

    With unit vectors x of the list's n items that have words, the mean over pairs is ``(|sum x|^2 - n) / (n (n - 1))``.

    Args:
        lists: [K, k] item ids, 0 where nothing was recommended.
        words: [N + 2, V] rows of norm 1, or 0 for items without words.
    """
    from scipy.sparse import csr_array

    has_words = np.diff(words.indptr) > 0
    means: list[npt.NDArray[np.float64]] = []
    for start in range(0, len(lists), _BLOCK):
        block = lists[start : start + _BLOCK]
        n = has_words[block].sum(1)
        ends = np.arange(len(block) + 1) * block.shape[1]
        bags = csr_array((np.ones(block.size), block.ravel(), ends), shape=(len(block), words.shape[0])) @ words
        square = bags.multiply(bags).sum(1)
        means.append(((square - n)[n > 1]) / (n * (n - 1))[n > 1])
    values = np.concatenate(means) if means else np.empty(0)
    return float(values.mean()) if len(values) else None


def word_vectors(items: pl.DataFrame, columns: Sequence[str]) -> csr_array | None:
    """Bags of distinct words weighted by ln(N / items with the word), norm 1, [N + 2, V]; None without words.

    They need no model and are equal for all methods, so lists of different methods are comparable.

    Args:
        items: ``item`` and text columns, as in the ``sequences`` artifact.
        columns: the text columns to read.
    """
    from scipy.sparse import csr_array

    if not columns:
        return None
    text = pl.concat_str(attributes(items, columns, dict.fromkeys(columns, "")), separator=" ", ignore_nulls=True)
    words = text.str.to_lowercase().str.extract_all(r"\w+").list.unique().alias("word")
    table = items.select("item", words).explode("word").drop_nulls()
    if table.is_empty():
        return None
    weight = (items.height / pl.len().over("word")).log()
    table = table.with_columns(weight.alias("weight"), pl.col("word").rank("dense").alias("column") - 1)
    norm = pl.col("weight").pow(2).sum().over("item").sqrt()
    table = table.filter(pl.col("weight") > 0).with_columns(pl.col("weight") / norm)
    rows, columns_, weights = (table[name].to_numpy() for name in ("item", "column", "weight"))
    size = (items.height + 2, int(columns_.max()) + 1 if len(columns_) else 1)
    return csr_array((weights, (rows, columns_)), shape=size)
