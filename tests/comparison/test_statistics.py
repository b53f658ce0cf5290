from __future__ import annotations

import doctest
import itertools
import math
import time

import numpy as np
import pytest
from scipy import stats

from sage_pl.comparison import statistics
from sage_pl.comparison.statistics import (
    bootstrap_means,
    cohens_d,
    gains,
    group_means,
    holm,
    interval,
    seed_noise,
    sign_flip_p,
    standard_deviation,
)
from sage_pl.evaluation.metrics import summarise


@pytest.fixture
def generator() -> np.random.Generator:
    return np.random.default_rng(0)


def columns(*groups: list[int], n: int) -> np.ndarray:
    """[n, G] membership from the users of each group."""
    return np.array([np.isin(np.arange(n), group) for group in groups]).T


def test_docstring_examples() -> None:
    assert doctest.testmod(statistics).attempted == 2
    assert doctest.testmod(statistics).failed == 0


@pytest.mark.parametrize("metric", ["hr@5", "ndcg@10", "mrr@20"])
def test_gains_average_to_the_metric(generator: np.random.Generator, metric: str) -> None:
    ranks, group = generator.integers(1, 30, 200), generator.random(200) < 0.3
    logged = summarise(ranks, {"some": group})
    means = group_means(gains(ranks, metric)[None], np.stack([np.ones(200, bool), group], 1))
    assert means[0] == pytest.approx([logged[metric], logged[f"{metric}/some"]])


@pytest.mark.parametrize("metric", ["ndcg", "ndcg@0", "recall@10", "ndcg@10/item_tail"])
def test_a_metric_of_another_name_is_refused(metric: str) -> None:
    with pytest.raises(ValueError, match=r"wanted hr@K, ndcg@K or mrr@K"):
        gains(np.ones(1, int), metric)


def test_a_rank_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="ranks start at 1, got 0"):
        gains(np.array([3, 0]), "hr@10")


def test_group_means_by_hand() -> None:
    members = columns([0, 1, 2], [1], [], n=3)
    assert group_means(np.array([[1.0, 2, 6]]), members)[0, :2].tolist() == [3, 2]
    assert np.isnan(group_means(np.array([[1.0, 2, 6]]), members)[0, 2])


def test_bootstrap_equals_a_loop(generator: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    values, members = generator.random((3, 40)), generator.random((40, 4)) < 0.4
    draws, loop = np.random.default_rng(5), []
    for _ in range(25):
        users = draws.integers(0, 40, 40)
        loop.append([[row[users][group[users]].mean() for group in members.T] for row in values])
    assert bootstrap_means(values, members, 25, seed=5) == pytest.approx(np.array(loop))
    monkeypatch.setattr(statistics, "_BLOCK", 40 * 7)  # blocks of 7, the last one of 4
    assert bootstrap_means(values, members, 25, seed=5) == pytest.approx(np.array(loop))


def test_the_interval_holds_the_true_mean_as_often_as_it_says(generator: np.random.Generator) -> None:
    everyone, inside = np.ones((120, 1), bool), 0
    for trial in range(200):
        low, high = interval(bootstrap_means(generator.exponential(1, (1, 120)), everyone, 300, seed=trial))
        inside += bool(low[0, 0] <= 1 <= high[0, 0])
    assert 0.89 <= inside / 200 <= 0.98


def test_interval_cuts_the_same_off_both_ends() -> None:
    low, high = interval(np.arange(201.0)[:, None])
    assert [low[0], high[0]] == pytest.approx([5, 195])  # 2.5 % of 200 steps at either end


def test_interval_leaves_samples_without_the_group_out() -> None:
    samples = np.array([[1.0, np.nan], [np.nan, np.nan], [3.0, np.nan]])
    low, high = interval(samples, level=1.0)
    assert (low[0], high[0]) == (1, 3)
    assert np.isnan([low[1], high[1]]).all()


def test_sign_flips_equal_the_exact_test(generator: np.random.Generator) -> None:
    differences = np.stack([generator.normal(0.5, 1, 10), np.round(generator.normal(0.3, 1, 10))])
    members = columns(list(range(10)), [0, 1, 2, 3, 4, 5], n=10)
    exact = np.empty((2, 2))
    for i, j in itertools.product(range(2), range(2)):
        d = differences[i][members[:, j]]
        sums = [abs(np.dot(signs, d)) for signs in itertools.product((-1, 1), repeat=len(d))]
        exact[i, j] = np.mean(np.array(sums) >= abs(d.sum()) - 1e-9)
    assert sign_flip_p(differences, members, 40_000) == pytest.approx(exact, abs=0.01)


def test_sign_flips_agree_with_scipy(generator: np.random.Generator) -> None:
    d = generator.normal(0.15, 1, 150)
    wanted = stats.permutation_test((d,), np.mean, permutation_type="samples", n_resamples=20_000, rng=1).pvalue
    assert sign_flip_p(d[None], np.ones((150, 1), bool), 20_000)[0, 0] == pytest.approx(wanted, abs=0.01)


def test_p_values_of_extremes() -> None:
    members = columns([0, 1, 2, 3], [], n=60)
    same, apart = np.zeros(60), np.ones(60)
    p = sign_flip_p(np.stack([same, apart]), np.hstack([members, np.ones((60, 1), bool)]), 999)
    assert p[0, [0, 2]].tolist() == [1, 1]
    assert np.isnan(p[:, 1]).all()
    assert p[1, 2] == 1 / 1000  # never 0
    assert p[1, 0] == pytest.approx(2 / 16, abs=0.05)  # all of one sign: 2 of 2^4


def test_systems_that_never_differ_are_no_finding() -> None:
    assert sign_flip_p(np.zeros((2, 6)), np.ones((6, 3), bool), 99).tolist() == [[1.0] * 3] * 2


def test_rounding_does_not_break_ties() -> None:
    thirds = np.array([1 / 3, 1 / 3, 1 / 3, -2 / 3, 1 / 3])  # many sums equal up to the last bit
    p = sign_flip_p(thirds[None], np.ones((5, 1), bool), 20_000)[0, 0]
    sums = [abs(np.dot(signs, [1, 1, 1, -2, 1])) for signs in itertools.product((-1, 1), repeat=5)]
    assert p == pytest.approx(np.mean(np.array(sums) >= 2), abs=0.01)


def test_holm_equals_a_loop(generator: np.random.Generator) -> None:
    for _ in range(50):
        p = np.round(generator.random(7), 1)  # with ties
        adjusted, running = {}, 0.0
        for rank, index in enumerate(sorted(range(7), key=lambda i: p[i])):
            running = max(running, min(1, (7 - rank) * p[index]))
            adjusted[index] = running
        assert holm(p) == pytest.approx([adjusted[i] for i in range(7)])


def test_holm_does_not_count_what_was_not_tested() -> None:
    adjusted = holm(np.array([[0.02, np.nan, 0.01], [np.nan, np.nan, np.nan]]))
    assert adjusted[0, [0, 2]].tolist() == [0.02, 0.02]
    assert np.isnan([adjusted[0, 1], *adjusted[1]]).all()


def test_cohens_d() -> None:
    d = np.array([[1.0, 3, 0, 0, 2, 2, 7]])
    members = columns([0, 1], [2, 3], [4, 5], [6], [], n=7)
    effects = cohens_d(d, members)[0]
    assert effects[0] == pytest.approx(2 / math.sqrt(2))
    assert effects[1] == 0
    assert np.isnan(effects[2:]).all()  # no spread, one user, nobody


def test_seed_noise_by_hand() -> None:
    a, b = np.array([[1.0], [3.0]]), np.array([[5.0], [5.0], [8.0]])  # variances 2 and 3, of the means 1 and 1
    freedom = (1 + 1) ** 2 / (1 / 1 + 1 / 2)
    assert seed_noise(a, b).tolist() == [pytest.approx(stats.t.ppf(0.975, freedom) * math.sqrt(2))]
    assert seed_noise(a, np.array([[4.0], [4.0]]))[0] == pytest.approx(12.706 * 1, abs=1e-3)  # one degree of freedom
    assert seed_noise(a * 0, b * 0).tolist() == [0]
    assert np.isnan(seed_noise(a, b[:1])).all()
    assert np.isnan(standard_deviation(b[:1])).all()


def test_seed_noise_is_the_interval_of_welchs_test(generator: np.random.Generator) -> None:
    a, b = generator.normal(0, 1, (3, 6)), generator.normal(0, 3, (5, 6))
    for level in (0.9, 0.95):
        low, high = stats.ttest_ind(a, b, equal_var=False).confidence_interval(level)
        assert seed_noise(a, b, level) == pytest.approx((high - low) / 2)


@pytest.mark.parametrize(
    ("values", "n", "message"),
    [
        (np.zeros((1, 3)), 0, "0 resamples"),
        (np.zeros((1, 2)), 5, "values of 2 users, but members of 3"),
        (np.array([[0, 0, np.nan]]), 5, "NaN"),
    ],
    ids=["no resamples", "other users", "nan"],
)
def test_bad_input_is_refused(values: np.ndarray, n: int, message: str) -> None:
    for function in (bootstrap_means, sign_flip_p):
        with pytest.raises(ValueError, match=message):
            function(values, np.ones((3, 1), bool), n)


def test_two_systems_of_one_law_differ_in_five_percent(generator: np.random.Generator) -> None:
    flagged = 0
    members = generator.random((150, 3)) < 0.5
    for trial in range(300):
        a, b = (gains(generator.integers(1, 30, (1, 150)), "ndcg@10") for _ in range(2))
        flagged += int((holm(sign_flip_p(a - b, members, 199, seed=trial)) < 0.05).any())
    assert flagged / 300 <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 300)


def test_a_large_comparison_is_quick(generator: np.random.Generator) -> None:
    values = gains(generator.integers(1, 60, (4, 8_000)), "ndcg@10")
    members = generator.random((8_000, 20)) < 0.3
    start = time.process_time()
    interval(bootstrap_means(values, members, 500))
    holm(sign_flip_p(values[1:] - values[0], members, 500))
    assert time.process_time() - start < 3  # 0.2 s; a loop over groups and samples takes longer


def test_a_p_value_does_not_depend_on_who_else_is_tested(generator: np.random.Generator) -> None:
    differences = generator.normal(0.1, 1, (2, 60))
    differences[0, ::2] = 0
    everyone = np.ones((60, 1), bool)
    assert sign_flip_p(differences, everyone, 99)[0] == sign_flip_p(differences[:1], everyone, 99)[0]
