"""Figures of codes: how evenly they are used, how many items share them, and whether near items have equal prefixes."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from sage_pl.data.frequency import least_of_head
from sage_pl.semantic.memberships import IntArray
from sage_pl.semantic.tables import FloatArray, neighbours
from sage_pl.semantic.tokenizer.collisions import group_sizes
from sage_pl.semantic.tokenizer.residual import Quantised, decoded

log = logging.getLogger(__name__)

NEIGHBOURS = 10
SAMPLE = 4000  # items whose neighbours are compared

Groups = Mapping[str, npt.NDArray[np.bool_]]
Vectors = Mapping[str, FloatArray]


def describe(
    quantised: Quantised, nearest: IntArray, codes: IntArray, sizes: list[int], counts: IntArray, views: Vectors
) -> dict[str, Any]:
    """The whole report; ``nearest`` [N, T] are the codes before balancing and matching."""
    groups = item_groups(counts)
    final = codes[:, : nearest.shape[1]]
    return {
        "items": {name: int(group.sum()) for name, group in groups.items()},
        "levels": usage(codes, sizes),
        "collisions": {
            "nearest": collisions(nearest),
            "final": collisions(codes),
            "moved": int((final != nearest).any(axis=1).sum()),
            "largest_prefix_group": int(group_sizes(nearest[:, :-1]).max()),
        },
        "error": {
            name: relative_error(quantised.latent, decoded(rows, quantised.codebooks), groups)
            for name, rows in (("nearest", nearest), ("final", final))
        },
        "neighbours": {name: preservation(rows, codes, groups) for name, rows in views.items()},
    }


def log_lines(report: Mapping[str, Any]) -> None:
    """Log the report in a few lines."""
    levels, shared = report["levels"], report["collisions"]
    log.info(
        "codes in use: %s; perplexity %s",
        ", ".join(f"{level['used']} of {level['codes']}" for level in levels),
        ", ".join(f"{level['perplexity']:.1f}" for level in levels),
    )
    log.info(
        "items on a shared string: %d by nearest codes, %d in the end; %d have another than the nearest code",
        *(shared["nearest"]["items"], shared["final"]["items"], shared["moved"]),
    )
    for view, shares in report["neighbours"].items():
        numbers = ", ".join(f"{name} {share[0]:.3f}" for name, share in shares.items() if share[0] is not None)
        log.info("10 nearest by %s that share the first code: %s", view, numbers)


def item_groups(counts: IntArray) -> Groups:
    """Masks [N]: all; head, the most popular 20 % of the trained items and their ties; tail, the others; unseen."""
    head = counts >= least_of_head(counts) if counts.any() else np.zeros(len(counts), dtype=bool)
    return {"all": np.ones(len(counts), dtype=bool), "head": head, "tail": ~head, "unseen": counts == 0}


def usage(codes: IntArray, sizes: list[int]) -> list[dict[str, float]]:
    """Of each level the number of codes, of codes in use, and the perplexity ``exp(entropy)`` of their frequencies."""
    levels = []
    for column, size in zip(codes.T, sizes, strict=True):
        shares = np.bincount(column) / len(column)
        entropy = -(shares[shares > 0] * np.log(shares[shares > 0])).sum()
        levels.append({"codes": size, "used": int((shares > 0).sum()), "perplexity": float(np.exp(entropy))})
    return levels


def collisions(codes: IntArray) -> dict[str, float]:
    """Items on a shared string, share of items beyond the first on their string, and most items on one string."""
    sizes = group_sizes(codes)
    duplicates = float(1 - (1 / sizes).sum() / len(codes))
    return {"items": int((sizes > 1).sum()), "duplicates": duplicates, "largest": int(sizes.max())}


def relative_error(latent: FloatArray, quantised: FloatArray, groups: Groups) -> dict[str, float | None]:
    """``mean |z - z_q|^2`` of each group over the variance of all, ``mean |z - mean z|^2``; None for an empty group."""
    errors = ((latent - quantised) ** 2).sum(axis=1)
    variance = max(float(((latent - latent.mean(axis=0)) ** 2).sum(axis=1).mean()), 1e-12)
    return {name: _mean(errors[group] / variance) for name, group in groups.items()}


def preservation(rows: FloatArray, codes: IntArray, groups: Groups, seed: int = 0) -> dict[str, list[float | None]]:
    """Share of an item's 10 nearest neighbours that have its first code, its first two codes, and so on.

    Args:
        rows: [N, D] of length 1, or 0 for items without a vector, which are no neighbours.
        codes: [N, H].
        groups: masks of the items to average over.
        seed: of the sample of at most 4,000 items.

    Returns:
        For each group one share per prefix of 1 to max(1, H - 1) codes, None for an empty group; ``chance`` is the share for
        random pairs of items.
    """
    valid = sample = np.flatnonzero(rows.any(axis=1))
    if len(valid) > SAMPLE:
        sample = np.sort(np.random.default_rng(seed).choice(valid, SAMPLE, replace=False))
    near = neighbours(rows, sample, valid, NEIGHBOURS)
    shares: dict[str, list[float | None]] = {name: [] for name in (*groups, "chance")}
    for depth in range(1, max(2, codes.shape[1])):
        sizes = group_sizes(codes[valid, :depth])
        shares["chance"].append(float((sizes - 1).mean() / max(len(valid) - 1, 1)))
        same = (codes[near, :depth] == codes[sample, None, :depth]).all(axis=2).mean(axis=1)
        for name, group in groups.items():
            shares[name].append(_mean(same[group[sample]]))
    return shares


def _mean(values: FloatArray) -> float | None:
    return float(values.mean()) if len(values) else None
