"""The formulas of fuzzy clustering: centres, memberships and prototypes."""

from __future__ import annotations

import numpy as np

from sage_pl.errors import SettingError
from sage_pl.semantic.tables import FloatArray, IntArray

NOISE = -1
CLOSEST = 1e-8


def centres(points: FloatArray, labels: IntArray, strength: FloatArray) -> FloatArray:
    """Weighted mean of every cluster: ``c_k = sum_i p_i x_i / sum_i p_i`` over its members.

    Args:
        points: x [N, D].
        labels: [N] cluster 0..C-1 of each point, -1 for noise.
        strength: p [N] in [0, 1], of the points' membership in their cluster.

    Returns:
        [C, D].

    Raises:
        SettingError: a cluster has no member of positive strength.
    """
    member = labels != NOISE
    n_clusters = int(labels.max(initial=NOISE)) + 1
    mass = np.bincount(labels[member], weights=strength[member], minlength=n_clusters)
    if not (mass > 0).all():
        raise SettingError(f"clusters {np.flatnonzero(mass <= 0).tolist()} have no member of positive strength")
    sums = np.zeros((n_clusters, points.shape[1]))
    np.add.at(sums, labels[member], strength[member, None] * points[member])
    return sums / mass[:, None]


def memberships(
    points: FloatArray,
    centres: FloatArray,
    labels: IntArray,
    strength: FloatArray,
    fuzzy_m: float = 2.0,
    exponent: float = 1.0,
    share_residual_mass: bool = True,
) -> FloatArray:
    """The membership of each point in each cluster; rows sum to 1.

    With ``d_ik = max(|x_i - c_k|, 1e-8)``, before the normalisation of the rows:

    - member i of cluster l: ``p_i d_il^-a`` for l, and ``(1 - p_i) / (C - 1) d_ik^-a`` for every other k;
    - noise i: ``(d_ik^-a)^(2 / (m - 1))``, for a = 1 the memberships of fuzzy c-means.

    Args:
        points: x [N, D].
        centres: c [C, D] with C >= 2.
        labels: [N] cluster of each point, -1 for noise.
        strength: p [N] in [0, 1].
        fuzzy_m: the fuzzifier m > 1.
        exponent: a.
        share_residual_mass: False gives the whole ``1 - p_i`` to each other cluster, as the reference does: rows are flat
            unless p is close to 1 (docs/deviations.md).

    Returns:
        [N, C].

    Reference: SAGE code line, clustering notebooks; docs/deviations.md.
    """
    n_clusters = len(centres)
    if n_clusters < 2:
        raise SettingError(f"memberships need at least 2 clusters, got {n_clusters}")
    check_fuzzifier(fuzzy_m)
    logits = _log_closeness(points, centres, exponent)  # [N, C], changed in place
    members, noise = np.flatnonzero(labels != NOISE), labels == NOISE
    entries = members, labels[members]  # of each member and its cluster
    p = np.clip(strength, 0.0, 1.0).astype(np.float64)
    with np.errstate(divide="ignore"):
        in_cluster = logits[entries] + np.log(p[members])
        logits[members] += np.log((1 - p[members]) / (n_clusters - 1 if share_residual_mass else 1))[:, None]
    logits[entries] = in_cluster
    logits[noise] *= 2 / (fuzzy_m - 1)
    return _shares(logits)


def _log_closeness(points: FloatArray, centres: FloatArray, exponent: float) -> FloatArray:
    """``log d_ik^-a``; the power itself may overflow."""
    from scipy.spatial.distance import cdist

    logits = np.maximum(cdist(points, centres), CLOSEST)
    np.log(logits, out=logits)
    logits *= -exponent
    return logits


def _shares(logits: FloatArray) -> FloatArray:
    """Softmax of each row, in place."""
    logits -= logits.max(axis=1, keepdims=True)
    weights = np.exp(logits, out=logits)
    weights /= weights.sum(axis=1, keepdims=True)
    return weights


def prototypes(
    memberships: FloatArray, centres: FloatArray, fuzzy_m: float, normalise: bool = True, index_offset: int = 0
) -> FloatArray:
    """The prototype of every item, ``q(j) = sum_k U[j, k]^m c_k / sum_k U[j, k]^m``.

    Args:
        memberships: U [R, C], row j for item j, rows 0 and N + 1 zero.
        centres: c [C, D].
        fuzzy_m: the fuzzifier m > 1.
        normalise: False omits the division, as the reference does.
        index_offset: 1 gives item j the prototype of item j + 1, and item N a zero row, as the reference does.

    Returns:
        [R, D], rows 0 and N + 1 zero.

    Reference: SAGE code line, ``ClusterHandler``; docs/deviations.md.
    """
    check_fuzzifier(fuzzy_m)
    if index_offset not in (0, 1):
        raise SettingError(
            f"index_offset is {index_offset}, wanted 0 (item j reads row j) or 1 (the reference's off-by-one)"
        )
    powers = np.asarray(memberships, dtype=np.float64) ** fuzzy_m
    table = powers @ centres
    if normalise:
        mass = powers.sum(axis=1, keepdims=True)
        table = np.divide(table, mass, out=np.zeros_like(table), where=mass > 0)
    if index_offset:
        table[1:-1] = table[2:]  # the row after item N is the mask token's: zero
    return table


def entropies(shares: FloatArray) -> FloatArray:
    """``- sum_k u_k log u_k`` of each row of ``shares`` [N, C]; log C for an even row."""
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    return -(shares * logs).sum(axis=1)


def check_fuzzifier(fuzzy_m: float) -> None:
    """Raise SettingError for a fuzzifier outside the formulas' domain, m > 1."""
    if not fuzzy_m > 1:
        raise SettingError(f"fuzzy_m is {fuzzy_m}, wanted more than 1 (2 is usual)")
