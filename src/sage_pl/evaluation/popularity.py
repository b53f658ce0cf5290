"""The popularity floor, which a useful model must exceed: items ranked by their training counts."""

from __future__ import annotations

import numpy as np

from sage_pl.data.sequences import Cases, IntArray, Sequences
from sage_pl.evaluation.groups import histories
from sage_pl.evaluation.ranks import house_rule

Ranks = dict[str, IntArray]


def popularity_ranks(
    sequences: Sequences, cases: Cases, candidates: IntArray | None = None, mask_seen: bool = False
) -> Ranks:
    """Ranks of all cases with training counts as scores, ties by the house rule (``sage_pl.evaluation.ranks``).

    Args:
        sequences: the data.
        cases: the split's cases.
        candidates: [K, n] sampled candidates of the split; None: full ranking alone.
        mask_seen: exclude the whole history from the full ranking; an answer that repeats it ranks N.

    Returns:
        ``full`` and, with candidates, ``sampled<n>`` -> int64 [K].
    """
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
        others, target = counts[candidates], answer[:, None]
        ranks[f"sampled{candidates.shape[1]}"] = house_rule((others > target).sum(1), (others == target).sum(1))
    return ranks


def _histories(sequences: Sequences, cases: Cases) -> tuple[IntArray, IntArray]:
    """Distinct (case, item) pairs of all histories: row of the case, and item."""
    case, item = histories(sequences, cases)
    size = sequences.n_items + 1
    pairs = np.unique(case * size + item)
    return pairs // size, pairs % size
