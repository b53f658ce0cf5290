"""Maps of item vectors keep groups apart, and items in place from one map to the next."""

from __future__ import annotations

import numpy as np
import pytest

from sage_pl.report.blocks import MissingError
from sage_pl.report.maps import project

pytest.importorskip("sklearn")


@pytest.fixture(scope="module")
def groups() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    label = np.repeat([0, 1, 2], 30)
    return np.eye(8)[label] + 0.05 * generator.normal(size=(90, 8)), label


def test_t_sne_keeps_groups_apart(groups: tuple[np.ndarray, np.ndarray]) -> None:
    vectors, label = groups
    first = project(vectors, None, 0, "tsne")
    again = project(vectors, None, 0, "tsne")
    assert (first == again).all()
    distances = np.linalg.norm(first[:, None] - first[None], axis=-1) + np.diag(np.full(90, np.inf))
    assert (label[distances.argmin(1)] == label).all()


def test_a_later_map_by_t_sne_keeps_items_in_place(groups: tuple[np.ndarray, np.ndarray]) -> None:
    vectors, label = groups
    first = project(vectors, None, 0, "tsne")
    second = project(vectors, first, 1, "tsne")
    centres = [np.stack([place[label == g].mean(0) for g in range(3)]) for place in (first, second)]
    angles = [np.arctan2(*(c - c.mean(0)).T) for c in centres]
    assert np.cos(angles[0] - angles[1]).min() > 0.5


def test_too_few_items_are_refused() -> None:
    with pytest.raises(MissingError, match="20 are needed"):
        project(np.eye(5), None, 0)
