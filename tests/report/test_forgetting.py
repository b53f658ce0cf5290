"""What one table of item vectors keeps of another, by hand and on tables made for it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sage_pl.data.sequences import Cases, Sequences
from sage_pl.report.forgetting import Kept, kept, pairs
from sage_pl.report.sections import forgetting

NONE = Cases(np.zeros(0, int), np.zeros(0, int), np.zeros(0, int))


def angles(*degrees: float) -> np.ndarray:
    """A table [R, 2] of unit vectors; the first and last rows are no items."""
    radians = np.deg2rad([0, *degrees, 0])
    return np.stack([np.cos(radians), np.sin(radians)], 1)


def test_tau_by_hand() -> None:
    a, b = np.array([1, 1, 1]), np.array([2, 3, 4])
    before = angles(0, 10, 20, 40)  # distances in the order 1-2, 1-3, 1-4
    after = angles(0, 20, 10, 90)  # 1-3, 1-2, 1-4: two of three pairs of distances in order, one reversed
    assert kept(before, after, a, b).tau == pytest.approx((2 - 1) / 3)


def test_a_kept_order_and_a_forgotten_one() -> None:
    generator = np.random.default_rng(0)
    before = generator.normal(size=(402, 8))
    a, b = generator.integers(1, 401, (2, 3000))
    a, b = a[a != b], b[a != b]
    turned = before @ np.linalg.qr(generator.normal(size=(8, 8)))[0]
    same = kept(before, 3 * turned, a, b)
    assert same.tau == pytest.approx(1, abs=1e-3)
    assert same.nearest == pytest.approx(0.05, abs=1e-3)
    assert same.farthest == pytest.approx(0.95, abs=1e-3)
    other = kept(before, generator.normal(size=(402, 5)), a, b)
    assert other.tau == pytest.approx(0, abs=0.05)
    assert other.nearest == pytest.approx(0.5, abs=0.06)
    assert other.farthest == pytest.approx(0.5, abs=0.06)


def test_pairs_are_of_the_history_and_drawn_ones_are_new_to_it() -> None:
    values = np.array([1, 2, 3, 4, 5, 6, 2])  # user 1: 1 2 3 | 4; user 2: 5 6 | 2
    data = Sequences(
        values,
        np.array([0, 0, 4, 7]),
        np.array([0, 3, 2]),
        Cases(np.array([1, 2]), np.array([3, 2]), values[[3, 6]]),
        NONE,
        9,
    )
    band = np.array([0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 0])  # items 1 to 4, and 5 to 9
    for seed in range(20):
        found = pairs(data, band, seed)
        together = set(zip(found.a.tolist(), found.b.tolist(), strict=True))
        assert {(1, 4), (2, 4), (3, 4), (5, 2), (6, 2)} <= together
        drawn = together - {(1, 4), (2, 4), (3, 4), (5, 2), (6, 2)}
        assert all(not (x <= 3 and y <= 3) for x, y in drawn)  # an item that user 1 has is left out
        assert (found.band == band[found.b]).all()
        assert (found.a != found.b).all()


def test_a_table_has_every_system_and_its_chart_the_best_five(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"system{n}" for n in range(7)]
    monkeypatch.setattr(forgetting, "charted_systems", lambda subject: names[2:])
    subject: Any = SimpleNamespace(styles={name: f"s{n}" for n, name in enumerate(names[2:])})
    bands = {name: {"0": (500, Kept(n / 10, 0.1, 0.9))} for n, name in enumerate(names)}
    figure = forgetting._figure(subject, "plain", bands)
    assert figure.table is not None
    assert [row[0].text for row in figure.table.rows] == names
    assert [*figure.legend.values()] == names[2:]
