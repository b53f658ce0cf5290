"""How far one table of item vectors keeps the order of distances of another."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sage_pl.data.sequences import IntArray, Sequences
from sage_pl.report.vectors import FloatArray, cosines

LEAST = 50  # pairs of a band
_CASES, _ITEMS = 4000, 10  # that are read, and the latest items of a history


class Pairs(NamedTuple):
    """Pairs of items (``a``, ``b``), [P] each, with the ``band`` of b."""

    a: IntArray
    b: IntArray
    band: IntArray


class Kept(NamedTuple):
    """What a table keeps of the distances in another, over the same pairs.

    Args:
        tau: Kendall's tau-b of the two lists of distances: 1 where the order is the same, 0 where nothing of it is left.
        nearest: mean place, from 0 (nearest) to 1 (farthest), of the tenth of the pairs that was nearest before; 0.05 if the
            order is kept, 0.5 if it is forgotten.
        farthest: the same of the tenth that was farthest; 0.95 if the order is kept.
    """

    tau: float
    nearest: float
    farthest: float


def pairs(data: Sequences, band: IntArray, seed: int = 0) -> Pairs:
    """Each validation case's latest items, 10 at most, with the answer, and with an item drawn from the answer's band.

    Args:
        data: the sequences; at most 4,000 cases, drawn at random, are read.
        band: [N + 2] a number per item.
        seed: of the draws. A drawn item that the history holds is left out.

    Reference: PAD, Figure 3 and its released code.
    """
    generator = np.random.default_rng(seed)
    cases = np.sort(generator.permutation(len(data.valid))[:_CASES])
    user, at, answer = data.valid.user[cases], data.valid.at[cases], data.valid.answer[cases]
    histories = data.window(user, at, _ITEMS)
    drawn = answer.copy()
    for one in np.unique(band[answer]):
        here = band[answer] == one
        drawn[here] = generator.choice(np.flatnonzero(band[1:-1] == one) + 1, here.sum())
    new = np.array(
        [d not in data.values[s : s + n] for d, s, n in zip(drawn, data.offsets[user], at, strict=True)], bool
    )
    a = np.concatenate([histories, histories[new]])
    b = np.concatenate([answer, drawn[new]])
    b = np.repeat(b, a.shape[1])
    real = (a.reshape(-1) > 0) & (a.reshape(-1) != b)
    return Pairs(a.reshape(-1)[real], b[real], band[b[real]])


def kept(before: FloatArray, after: FloatArray, a: IntArray, b: IntArray) -> Kept:
    """What ``after`` keeps of ``before``, by the cosine distances of the pairs.

    Args:
        before, after: tables [R, D], of any two widths.
        a, b: [P] items of each pair.
    """
    from scipy.stats import kendalltau

    first, second = 1 - cosines(before, a, b), 1 - cosines(after, a, b)
    order, tenth = np.argsort(first, kind="stable"), max(1, len(a) // 10)
    place = _places(second)
    tau = float(kendalltau(first, second).statistic)
    return Kept(tau, float(place[order[:tenth]].mean()), float(place[order[-tenth:]].mean()))


def _places(values: FloatArray) -> npt.NDArray[np.float64]:
    """Place of each value among all, from 0 to 1; equal values share their mean place."""
    from scipy.stats import rankdata

    return (rankdata(values) - 0.5) / len(values)
