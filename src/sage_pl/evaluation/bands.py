"""Finer groups of cases than head and tail: five bands of popularity and five of the history's length."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sage_pl.data.sequences import Cases, IntArray, Sequences

BORDERS = (1, 5, 10, 20, 40)
NAMES = ("1-4", "5-9", "10-19", "20-39", "40+")


def popularity_bands(sequences: Sequences, cases: Cases) -> dict[str, npt.NDArray[np.bool_]]:
    """``item_1-4`` ... ``item_40+`` -> [K], by training events of the answer; unseen answers are in none."""
    return _bands("item", sequences.train_counts[cases.answer])


def length_bands(cases: Cases) -> dict[str, npt.NDArray[np.bool_]]:
    """``user_1-4`` ... ``user_40+`` -> [K], by events before the answer."""
    return _bands("user", cases.at)


def _bands(kind: str, numbers: IntArray) -> dict[str, npt.NDArray[np.bool_]]:
    band = np.searchsorted(BORDERS, numbers, side="right") - 1
    return {f"{kind}_{name}": band == index for index, name in enumerate(NAMES)}
