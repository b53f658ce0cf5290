"""The floor below which no model is worth its cost: rank items by how often they occur in the training part."""

from __future__ import annotations

import numpy as np

from sage_pl.data.sequences import Cases, IntArray, Sequences
from sage_pl.evaluation.groups import histories

FLOOR = "popularity"
Ranks = dict[str, IntArray]


def popularity_ranks(
    sequences: Sequences, cases: Cases, candidates: IntArray | None = None, mask_seen: bool = False
) -> Ranks:
    """Ranks of all cases under training counts, by the house rule for ties (``sage_pl.evaluation.ranks``).

    Args:
        sequences: the data.
        cases: the split's cases.
        candidates: [K, n] sampled candidates of the split, if that protocol is wanted.
        mask_seen: leave the whole history out of the full ranking; an answer that repeats it ranks N.

    Returns:
        ``full`` and, where candidates are given, ``sampled<n>`` -> int64 [K].
    """
    from sage_pl.evaluation.ranks import house_rule  # torch, which FLOOR does not need

    counts = sequences.train_counts
    answer = counts[cases.answer]
    ascending = np.sort(counts[1:-1])
    up_to = np.searchsorted(ascending, answer, side="right")
    higher, ties = len(ascending) - up_to, up_to - np.searchsorted(ascending, answer, side="left") - 1
    if mask_seen:
        case, item = _histories(sequences, cases)
        higher -= np.bincount(case[counts[item] > answer[case]], minlength=len(cases))
        ties -= np.bincount(case[counts[item] == answer[case]], minlength=len(cases))
    full = house_rule(higher, ties)
    if mask_seen:
        full[case[item == cases.answer[case]]] = sequences.n_items
    ranks = {"full": full}
    if candidates is not None:
        others = counts[candidates]
        ranks[f"sampled{candidates.shape[1]}"] = house_rule(
            (others > answer[:, None]).sum(1), (others == answer[:, None]).sum(1)
        )
    return ranks


def _histories(sequences: Sequences, cases: Cases) -> tuple[IntArray, IntArray]:
    """Distinct (case, item) pairs of all histories: row of the case, and the item."""
    case, item = histories(sequences, cases)
    size = sequences.n_items + 1
    pairs = np.unique(case * size + item)
    return pairs // size, pairs % size
