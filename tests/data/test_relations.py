"""The four matrices of items against their formulas, pair by pair, and what they may read."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from sage_pl.artifacts.store import Artifact
from sage_pl.data.relations import Relations
from sage_pl.data.sequences import Cases, Sequences

N = 7
TRAIN = [[1, 2, 3, 1], [2, 3, 4], [5, 1, 2, 6, 5], []]


def sequences(held_out: int = 4) -> Sequences:
    users = [[*items, held_out, held_out] for items in TRAIN]
    offsets = np.concatenate([[0, 0], np.cumsum([len(items) for items in users])])
    nobody = Cases(*(np.zeros(0, np.int64) for _ in range(3)))
    return Sequences(np.concatenate(users), offsets, np.array([0, *(len(items) for items in TRAIN)]), nobody, nobody, N)


def made(out: Path, monkeypatch: pytest.MonkeyPatch, held_out: int = 4, **settings: float) -> dict[str, np.ndarray]:
    out.mkdir()
    monkeypatch.setattr(Sequences, "load", staticmethod(lambda artifact: sequences(held_out)))
    Relations(**settings).run({"sequences": Artifact("", out, {})}, out)  # type: ignore[arg-type]
    matrices = {}
    for name in ("after", "before", "second", "together"):
        items, offsets, values = (np.load(out / f"{name}_{part}.npy") for part in ("items", "offsets", "values"))
        matrices[name] = sparse.csr_array((values, items, offsets), shape=(N + 2, N + 2)).toarray()
    return matrices


def test_each_matrix_equals_its_formula(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = made(tmp_path / "all", monkeypatch)
    follows = np.zeros((N + 2, N + 2))
    for items in TRAIN:
        for one, other in itertools.pairwise(items):
            follows[one, other] += 1
    both = follows + 0.5 * follows.T

    def shares(counts: np.ndarray) -> np.ndarray:
        return counts / np.maximum(counts.sum(1, keepdims=True), 1e-30)

    together = np.zeros_like(follows)
    owners = [sum(item in items for items in TRAIN) for item in range(N + 2)]
    for items in TRAIN:
        for one in set(items):
            for other in set(items) - {one}:
                together[one, other] += 1 / math.log2(1 + len(set(items))) / math.sqrt(owners[one] * owners[other])
    expected = {"after": shares(follows), "before": shares(follows.T), "second": shares(both) @ shares(both)}
    for name, matrix in {**expected, "together": together}.items():
        np.testing.assert_allclose(found[name], matrix, atol=1e-6, err_msg=name)
    assert np.load(tmp_path / "all" / "counts.npy").tolist() == [sum(s.count(i) for s in TRAIN) for i in range(N + 2)]


def test_held_out_events_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = (made(tmp_path / str(item), monkeypatch, item) for item in (4, 7))
    for name, matrix in one.items():
        np.testing.assert_array_equal(matrix, other[name])
        assert not matrix[7].any()


def test_only_the_largest_entries_of_a_row_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, capped = made(tmp_path / "all", monkeypatch), made(tmp_path / "two", monkeypatch, most=2)
    for name, matrix in capped.items():
        assert ((matrix > 0).sum(1) <= 2).all()
        np.testing.assert_allclose(np.sort(matrix)[:, -2:], np.sort(whole[name])[:, -2:])
