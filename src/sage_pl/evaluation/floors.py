"""Floors, which a useful model must exceed: rankers without training, by name; a table shows the best of them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

Ranks = Mapping[str, npt.NDArray[np.integer]]  # protocol -> [K]
Floors = Mapping[str, Ranks]  # by name

POPULARITY = "popularity"
METRIC = "ndcg@10"  # by which floors are compared; the first metric of every table
_LABEL = "floor: "


def label(name: str) -> str:
    """A floor's name as a row of a table.

    >>> label("neighbours")
    'floor: neighbours'
    """
    return _LABEL + name


def is_floor(system: str) -> bool:
    """Whether a row of a table is a floor; earlier versions knew popularity alone."""
    return system.startswith(_LABEL) or system == POPULARITY


def floors_by(metrics: Mapping[str, float], protocol: str) -> dict[str, float]:
    """Floors of a protocol with their NDCG@10, best first; equal ones, to 6 decimals, by name.

    >>> floors_by({"floor/popularity/full/ndcg@10": 0.1, "floor/transitions/full/ndcg@10": 0.2}, "full")
    {'transitions': 0.2, 'popularity': 0.1}
    """
    names = dict.fromkeys(name.split("/")[1] for name in metrics if name.startswith("floor/"))
    values = {name: metrics[key] for name in names if (key := f"floor/{name}/{protocol}/{METRIC}") in metrics}
    return dict(sorted(values.items(), key=lambda pair: (-round(pair[1], 6), pair[0])))


def best_floor(metrics: Mapping[str, float], protocol: str) -> str:
    """The name of the floor with the highest NDCG@10; popularity where that is not measured."""
    return next(iter(floors_by(metrics, protocol)), POPULARITY)


def standing(metrics: Mapping[str, float], protocol: str) -> str:
    """A line on the floors of a run, and on the run where it is below the best of them."""
    values = floors_by(metrics, protocol)
    if not values:
        return ""
    own, (name, value) = metrics.get(f"test/{protocol}/{METRIC}"), next(iter(values.items()))
    line = f"Floors by {METRIC}: {', '.join(f'{name} {100 * value:.2f}' for name, value in values.items())}."
    below = own is not None and own < value
    return f"{line} Below the floor {name}: {100 * (own or 0):.2f} < {100 * value:.2f}." if below else line
