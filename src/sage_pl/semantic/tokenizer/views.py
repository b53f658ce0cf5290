"""The two views of an item that codes describe: its text, and its collaborative vector completed from the text."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sage_pl.errors import SettingError
from sage_pl.semantic.memberships import IntArray
from sage_pl.semantic.tables import FloatArray, normalised

RIDGE = 1.0  # penalty of the map from text to collaborative vectors, both of length 1


class Views(NamedTuple):
    """A quantiser's input for items 1..N: ``source`` [N, D], described by codes; ``target`` [N, D'] or None, which pulls them;
    ``trust`` [N] in [0, 1], the weight of each target row. Rows have length 1, or 0 where data are missing.
    """

    source: FloatArray
    target: FloatArray | None
    trust: FloatArray


def directions(rows: FloatArray, valid: npt.NDArray[np.bool_]) -> FloatArray:
    """Rows [N, D] centred by the mean of the valid ones and scaled to length 1; invalid rows become 0."""
    centred = rows - rows[valid].mean(axis=0) if valid.any() else rows
    return normalised(np.where(valid[:, None], centred, 0.0))


def trust(counts: IntArray, pivot: float) -> FloatArray:
    """``f / (f + pivot)``: weight of the collaborative vector of an item with f training events.

    0 at f = 0 for every pivot: such rows still hold their random start.
    """
    counts = np.asarray(counts, dtype=np.float64)
    return np.divide(counts, counts + pivot, out=np.zeros_like(counts), where=counts > 0)


def completed(collaborative: FloatArray, text: FloatArray, weights: FloatArray) -> FloatArray:
    """Collaborative directions, completed by a prediction from the text.

    ``x_i = unit(c_i u_i + (1 - c_i) unit(t_i W + b))``, with (W, b) the ridge regression of u on t in which item i has weight
    c_i: the posterior mean of a noisy direction whose prior is the prediction. At c_i = 0 the text alone decides.

    Args:
        collaborative: u [N, D], rows of length 1 or 0.
        text: t [N, D'], rows of length 1 or 0.
        weights: c [N] in [0, 1].

    Raises:
        ValueError: no item has a collaborative vector.
    """
    from sklearn.linear_model import Ridge

    trained = weights > 0
    if not trained.any():
        raise SettingError("no item occurs in training, so there is no collaborative vector; use tokenizer=tiger")
    ridge = Ridge(RIDGE).fit(text[trained], collaborative[trained], sample_weight=weights[trained])
    weight = weights[:, None]
    return normalised(weight * collaborative + (1 - weight) * normalised(ridge.predict(text)))
