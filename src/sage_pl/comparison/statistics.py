"""Certainty of a difference between systems: intervals, paired tests, effect sizes and the noise of seeds.

Values are by user (one case each), averaged over seeds, and many groups are computed at once: a group is a column of
``members``. Users are the sample; :func:`seed_noise` measures the effect of the seed alone.
"""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt

from sage_pl.errors import SettingError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.integer]
BoolArray = npt.NDArray[np.bool_]

_METRIC = re.compile(r"(hr|ndcg|mrr)@([1-9]\d*)")
RESAMPLES = 2000  # of conf/compare.yaml, and of a run's page: one run has one interval on both
_BLOCK = 4_000_000  # random numbers in memory at a time
_ROUNDING = 1e-9  # sums nearer than this share of their size are equal


def gains(ranks: IntArray, metric: str) -> FloatArray:
    """The gain of each rank, as in :class:`sage_pl.evaluation.metrics.RankMetrics`.

    HR@k = [r <= k], NDCG@k = [r <= k] / log2(r + 1), MRR@k = [r <= k] / r.

    Args:
        ranks: 1-based, of any shape.
        metric: ``hr@10``, ``ndcg@10``, ``mrr@10`` with any cut-off.

    Raises:
        SettingError: a metric of another name.
        ValueError: a rank below 1.

    >>> gains(np.array([1, 3, 11]), "ndcg@10").tolist()
    [1.0, 0.5, 0.0]
    """
    match = _METRIC.fullmatch(metric)
    if not match:
        raise SettingError(f"metric is {metric!r}; wanted hr@K, ndcg@K or mrr@K, such as ndcg@10")
    if ranks.size and ranks.min() < 1:
        raise ValueError(f"ranks start at 1, got {ranks.min()}")
    kind, k = match.group(1), int(match.group(2))
    gain = {"hr": lambda r: np.ones_like(r), "ndcg": lambda r: 1 / np.log2(r + 1), "mrr": lambda r: 1 / r}[kind]
    return np.where(ranks <= k, gain(ranks.astype(np.float64)), 0.0)


def group_means(values: FloatArray, members: BoolArray) -> FloatArray:
    """Means of the groups, [S, G]; NaN for an empty group.

    Args:
        values: [S, U] one row per system, or per seed of a system.
        members: [U, G].
    """
    return _ratio(values @ members.astype(np.float64), members.sum(0))


def bootstrap_means(values: FloatArray, members: BoolArray, n: int, seed: int = 0) -> FloatArray:
    """Means of the groups in ``n`` samples of U users drawn with replacement, [n, S, G].

    A sample has the same users for all systems and groups, so the difference of two systems' means is a sample of the
    difference. NaN where a group has no user in a sample.

    Args:
        values: [S, U] averaged over seeds.
        members: [U, G].
        n: samples, at least 1.
        seed: of the draw.

    Reference: Efron & Tibshirani, An Introduction to the Bootstrap, chapters 6 and 13 (percentile interval).
    """
    _check(values, members, n)
    generator = np.random.default_rng(seed)
    n_systems, n_users = values.shape
    columns = _columns(values, members)
    sizes = members.astype(np.float64)
    means = np.empty((n, n_systems, members.shape[1]))
    step = max(1, _BLOCK // max(n_users, 1))
    for start in range(0, n, step):
        size = min(step, n - start)
        users = generator.integers(0, n_users, (size, n_users))
        users += np.arange(size)[:, None] * n_users
        times = np.bincount(users.ravel(), minlength=size * n_users).reshape(size, n_users).astype(np.float64)
        sums = (times @ columns).reshape(size, n_systems, -1)
        means[start : start + size] = _ratio(sums, (times @ sizes)[:, None, :])
    return means


def interval(samples: FloatArray, level: float = 0.95) -> tuple[FloatArray, FloatArray]:
    """Percentile interval over the first axis, without NaN samples; NaN where all are NaN."""
    flat = samples.reshape(len(samples), -1)
    bounds = np.full((2, flat.shape[1]), np.nan)
    defined = ~np.isnan(flat).all(0)
    ends = [(1 - level) / 2, (1 + level) / 2]
    if defined.any():
        bounds[:, defined] = np.nanquantile(flat[:, defined], ends, axis=0)
    low, high = bounds.reshape(2, *samples.shape[1:])
    return low, high


def sign_flip_p(differences: FloatArray, members: BoolArray, n: int, seed: int = 0) -> FloatArray:
    """Two-sided p-values of the paired permutation test, [S, G]; NaN for an empty group.

    Under the null hypothesis each user's difference is as likely as its negative. With T the sum of a group's
    differences and T_1..T_n sums under random signs: ``p = (1 + #{|T_i| >= |T|}) / (1 + n) > 0``.

    Args:
        differences: [S, U] system minus baseline, by user.
        members: [U, G].
        n: random signs for every user, at least 1.
        seed: of the signs.

    Reference: Phipson & Smyth 2010 (why 1 is added); Smucker, Allan & Carterette 2007 (for ranking metrics).
    """
    _check(differences, members, n)
    generator = np.random.default_rng(seed)
    nonzero = differences.any(0)  # zeros add nothing to any sum
    columns = _columns(differences[:, nonzero], members[nonzero])
    observed = np.abs(columns.sum(0)) - _ROUNDING * np.abs(columns).sum(0)
    as_large = np.zeros(columns.shape[1], np.int64)
    n_users = len(members)
    step = max(1, _BLOCK // max(n_users, 1))
    for start in range(0, n, step):
        size = min(step, n - start)
        bits = np.frombuffer(generator.bytes(size * -(-n_users // 8)), np.uint8).reshape(size, -1)
        signs = 2.0 * np.unpackbits(bits, axis=1, count=n_users)[:, nonzero] - 1
        as_large += (np.abs(signs @ columns) >= observed).sum(0)
    p = ((1 + as_large) / (1 + n)).reshape(len(differences), -1)
    p[:, ~members.any(0)] = np.nan
    return p


def holm(p: FloatArray) -> FloatArray:
    """Holm's step-down correction along the last axis; NaN entries count as no tests and stay NaN.

    With p_(1) <= ... <= p_(m): adjusted p_(i) = max over j <= i of min(1, (m - j + 1) p_(j)).

    Reference: Holm 1979, A simple sequentially rejective multiple test procedure.

    >>> holm(np.array([0.01, 0.04, 0.03])).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p, axis=-1)  # NaN last
    tests = (~np.isnan(p)).sum(-1, keepdims=True)
    factors = np.maximum(tests - np.arange(p.shape[-1]), 1)
    stepped = np.maximum.accumulate(np.minimum(np.take_along_axis(p, order, -1) * factors, 1), axis=-1)
    adjusted = np.empty_like(p)
    np.put_along_axis(adjusted, order, stepped, -1)
    return adjusted


def cohens_d(differences: FloatArray, members: BoolArray) -> FloatArray:
    """Paired effect size d = mean / standard deviation of a group's differences, [S, G].

    0 where all differences are 0; NaN for fewer than two users, or where all differences are equal.

    Reference: Cohen 1988, section 2.3.5 (d_z).
    """
    n = members.sum(0)
    mean = group_means(differences, members)
    square = differences**2 @ members.astype(np.float64)
    spread = _ratio(square - n * np.nan_to_num(mean) ** 2, np.maximum(n - 1, 0))
    sd = np.sqrt(np.where(spread > _ROUNDING * _ratio(square, n), spread, 0))
    effect = _ratio(mean, sd)
    return np.where((square == 0) & (n > 1), 0.0, np.where(n > 1, effect, np.nan))


def standard_deviation(seeds: FloatArray) -> FloatArray:
    """Over the seeds, the first axis, with n - 1; NaN for one seed."""
    return seeds.std(0, ddof=1) if len(seeds) > 1 else np.full(seeds.shape[1:], np.nan)


def seed_noise(a: FloatArray, b: FloatArray, level: float = 0.95) -> FloatArray:
    """The largest difference of two systems' means that seeds alone explain.

    Half the width of Welch's interval: t sqrt(v_a + v_b) with v = s^2 / n, s a standard deviation over n seeds, and t the
    quantile (1 + level) / 2 of Student's distribution with (v_a + v_b)^2 / (v_a^2 / (n_a - 1) + v_b^2 / (n_b - 1)) degrees of
    freedom. With few seeds s is uncertain, and t compensates: 4.3 for two seeds each, 2.8 for three, 2.3 for five.
    NaN where either has only one seed.

    Args:
        a: [n_a, ...] a metric's value by seed.
        b: [n_b, ...] the same of the other system.
        level: probability that seeds alone stay within it, if their values are normal.

    Reference: Welch 1947, The generalization of "Student's" problem.
    """
    from scipy.stats import t

    v_a, v_b = (standard_deviation(x) ** 2 / len(x) for x in (a, b))
    total = v_a + v_b
    freedom = _ratio(total**2, v_a**2 / max(len(a) - 1, 1) + v_b**2 / max(len(b) - 1, 1))
    return np.where(total == 0, 0.0, t.ppf((1 + level) / 2, freedom) * np.sqrt(total))


def _columns(values: FloatArray, members: BoolArray) -> FloatArray:
    """Each system's values within each group, 0 outside, [U, S * G]."""
    return (values.T[:, :, None] * members[:, None, :]).reshape(len(members), len(values) * members.shape[1])


def _ratio(a: FloatArray, b: npt.NDArray) -> FloatArray:
    """a / b, NaN where b is 0."""
    a, b = np.broadcast_arrays(np.asarray(a, np.float64), b)
    return np.divide(a, b, out=np.full(a.shape, np.nan), where=b > 0)


def _check(values: FloatArray, members: BoolArray, n: int) -> None:
    if n < 1:
        raise SettingError(f"{n} resamples; draw at least one (resamples=2000)")
    if values.shape[1] != len(members):
        raise ValueError(
            f"values of {values.shape[1]} users, but members of {len(members)}; both must have one per user"
        )
    if not np.isfinite(values).all():
        raise ValueError("values by user hold NaN or infinity; check the ranks they come from")
