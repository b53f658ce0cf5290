from __future__ import annotations

import doctest
import itertools
import math

import numpy as np
import polars as pl
import pytest

from sage_pl.evaluation import lists as module
from sage_pl.evaluation.lists import gini, list_metrics, text_similarity, word_vectors

COUNTS = np.array([0, 7, 3, 1, 0, 0])  # four items, of which item 4 is unseen
TAIL = np.array([True, False, False, True, True, True])
ITEMS = pl.DataFrame(
    {
        "item": [1, 2, 3, 4],
        "title": ["Green tea, box", "green Tea", "Bicycle", ""],
        "tags": [["drink"], ["drink", "loose"], ["ride"], []],
    }
)


def test_docstring_example() -> None:
    assert doctest.testmod(module).attempted == 1
    assert doctest.testmod(module).failed == 0


def test_metrics_by_hand() -> None:
    found = list_metrics(np.array([[1, 2], [1, 4], [1, 0]]), COUNTS, TAIL)  # item 1 three times, 2 and 4 once
    bits = [-math.log2(share / 15) for share in (8, 4, 2, 1)]  # counts + 1, of 15 in all
    assert found == pytest.approx(
        {
            "coverage@2": 3 / 4,
            "gini@2": (-3 * 0 - 1 * 1 + 1 * 1 + 3 * 3) / (4 * 5),
            "tail_share@2": 1 / 5,
            "novelty@2": (3 * bits[0] + bits[1] + bits[3]) / 5,
        }
    )


def test_nothing_recommended() -> None:
    assert list_metrics(np.zeros((2, 3), int), COUNTS, TAIL) == {"coverage@3": 0.0}


def test_gini_equals_the_mean_difference() -> None:
    times = np.random.default_rng(0).integers(0, 9, 50)
    pairs = np.abs(times[:, None] - times[None, :]).mean()
    assert gini(times) == pytest.approx(pairs / (2 * times.mean()))


def test_word_vectors_by_hand() -> None:
    words = word_vectors(ITEMS, ["title", "tags"])
    assert words is not None
    table = words.toarray()
    rare, shared = math.log(4 / 1), math.log(4 / 2)  # box, loose, bicycle, ride; green, tea, drink
    first = math.sqrt(3 * shared**2 + rare**2)
    assert words.shape == (6, 7)
    assert sorted(table[1][table[1] > 0]) == pytest.approx(sorted([shared / first] * 3 + [rare / first]))
    assert table[1] @ table[2] == pytest.approx(3 * shared**2 / first**2)
    assert table[1] @ table[3] == 0
    assert not table[[0, 4, 5]].any()
    assert (table[[1, 2, 3]] ** 2).sum(1) == pytest.approx(1)


@pytest.mark.parametrize(
    ("items", "columns"), [(ITEMS, []), (ITEMS.with_columns(title=pl.lit("")), ["title"])], ids=["no column", "no word"]
)
def test_no_text(items: pl.DataFrame, columns: list[str]) -> None:
    assert word_vectors(items, columns) is None


def test_words_that_all_items_share_say_nothing() -> None:
    words = word_vectors(ITEMS.with_columns(title=pl.lit("same")), ["title"])
    assert words is not None
    assert words.nnz == 0
    assert text_similarity(np.array([[1, 2]]), words) is None


def test_text_similarity_equals_a_loop_over_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    titles = [" ".join(generator.choice(list("abcdef"), generator.integers(0, 4))) for _ in range(30)]
    words = word_vectors(pl.DataFrame({"item": range(1, 31), "title": titles}), ["title"])
    assert words is not None
    lists = np.array([generator.permutation(31)[:5] for _ in range(20)])  # 0 among them: fewer than five
    table, means = words.toarray(), []
    for row in lists:
        spoken = [item for item in row if table[item].any()]
        pairs = [table[a] @ table[b] for a, b in itertools.combinations(spoken, 2)]
        means += [np.mean(pairs)] if pairs else []
    assert text_similarity(lists, words) == pytest.approx(np.mean(means))
    monkeypatch.setattr(module, "_BLOCK", 7)
    assert text_similarity(lists, words) == pytest.approx(np.mean(means))
    metrics = list_metrics(lists, np.zeros(32, int), np.ones(32, bool), words)
    assert metrics["text_similarity@5"] == pytest.approx(np.mean(means))
