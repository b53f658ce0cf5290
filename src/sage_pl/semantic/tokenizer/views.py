"""What codes are made of: an item's text, and its vector in a trained recommender, completed where that says little."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sage_pl.errors import SettingError
from sage_pl.semantic.memberships import IntArray
from sage_pl.semantic.tables import FloatArray, normalised

RIDGE = 1.0  # penalty of the map from text to collaborative vectors, both of length 1


class Views(NamedTuple):
    """Items 1..N as a quantiser sees them; rows have length 1, or 0 where nothing is known.

    ``source`` [N, D] is what codes describe, ``target`` [N, D'] what they are pulled towards (None: nothing), and
    ``trust`` [N] in [0, 1] says how far each target row is to be believed.
    """

    source: FloatArray
    target: FloatArray | None
    trust: FloatArray


def directions(rows: FloatArray, known: npt.NDArray[np.bool_]) -> FloatArray:
    """Rows as seen from the mean of the known ones, scaled to length 1; rows that are not known become 0.

    Args:
        rows: [N, D].
        known: [N], True where a row means something.
    """
    centred = rows - rows[known].mean(axis=0) if known.any() else rows
    return normalised(np.where(known[:, None], centred, 0.0))


def trust(counts: IntArray, pivot: float) -> FloatArray:
    """``f / (f + pivot)``: how far the collaborative vector of an item with f training events is to be believed.

    0 for items never trained on, whatever the pivot: their rows are what the random start left there.
    """
    counts = np.asarray(counts, dtype=np.float64)
    return np.divide(counts, counts + pivot, out=np.zeros_like(counts), where=counts > 0)


def completed(collaborative: FloatArray, text: FloatArray, believed: FloatArray) -> FloatArray:
    """Collaborative directions in which text speaks where training did not.

    ``x_i = unit(c_i u_i + (1 - c_i) unit(t_i W + b))``, with u the given directions, c their trust, and (W, b) the ridge
    regression of u on the text t, every item weighted by c: the posterior mean of a noisy direction whose prior is what
    its text suggests. An item with c = 0 is placed by its text alone.

    Args:
        collaborative: u [N, D], rows of length 1 or 0.
        text: t [N, D'], rows of length 1 or 0.
        believed: c [N] in [0, 1].

    Raises:
        ValueError: no item has a collaborative vector.
    """
    from sklearn.linear_model import Ridge

    trained = believed > 0
    if not trained.any():
        raise SettingError("no item occurs in training, so there is no collaborative vector; use tokenizer=tiger")
    ridge = Ridge(RIDGE).fit(text[trained], collaborative[trained], sample_weight=believed[trained])
    weight = believed[:, None]
    return normalised(weight * collaborative + (1 - weight) * normalised(ridge.predict(text)))
