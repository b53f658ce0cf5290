import sys

import numpy as np
import pytest

from sage_pl.semantic.retrieve import Retrieve, similar


def naive(rows: np.ndarray, k: int) -> np.ndarray:
    """Every pair compared; itself left out; best first, equal ones by index."""
    scores = (rows.astype(np.float64) @ rows.T.astype(np.float64)).round(6)
    found = []
    for i, row in enumerate(scores):
        others = sorted((j for j in range(len(rows)) if j != i), key=lambda j: (-row[j], j))
        found.append(others[:k])
    return np.array(found)


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("chunk", [1, 7, 100])
@pytest.mark.parametrize("k", [1, 5, 39, 60])
def test_search_equals_comparing_every_pair(rng, k, chunk) -> None:
    rows = unit(rng.normal(size=(40, 8)))
    np.testing.assert_array_equal(similar(rows, k, chunk), naive(rows, k))


def test_twins_are_found_and_nobody_finds_itself(rng) -> None:
    rows = unit(np.repeat(rng.normal(size=(6, 4)), [1, 2, 3, 8, 20, 1], axis=0))
    found = similar(rows, 5)
    assert not (found == np.arange(len(rows))[:, None]).any()
    assert all(len(set(row)) == 5 for row in found)
    scores, ids = rows @ rows.T, np.arange(len(rows))[:, None]
    np.testing.assert_allclose(scores[ids, found], scores[ids, naive(rows, 5)], atol=1e-6)


def test_equal_users_are_ordered_by_id(rng) -> None:
    rows = unit(np.repeat(rng.normal(size=(3, 4)), [4, 3, 3], axis=0))
    np.testing.assert_array_equal(similar(rows, 9), naive(rows, 9))


def test_two_searches_agree(rng) -> None:
    rows = unit(np.repeat(rng.normal(size=(3, 4)), 30, axis=0))
    np.testing.assert_array_equal(similar(rows, 5), similar(rows, 5, chunk=8))


def test_progress_is_shown_on_a_terminal_alone_and_changes_nothing(rng, monkeypatch, capsys) -> None:
    rows = unit(rng.normal(size=(40, 8)))
    silent = similar(rows, 5, chunk=10)
    assert not capsys.readouterr().err
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    np.testing.assert_array_equal(similar(rows, 5, chunk=10), silent)
    shown = capsys.readouterr().err
    assert "retrieve: 100%" in shown
    assert "4/4" in shown


def test_step_counts_users_from_one_and_leaves_empty_ones_out(make_sequences, make_artifact, out) -> None:
    angles = np.array([0.0, 0.1, 0.3, 0.0, 0.25])
    profiles = np.vstack([np.zeros(2), 3 * np.stack([np.cos(angles), np.sin(angles)], axis=1)])
    profiles[4] = 0  # user 4 has no vector
    sequences = make_sequences([[1, 1], [1, 1], [1, 1], [1, 1], [1]])  # user 5 has one training item
    inputs = {"sequences": sequences, "profile": make_artifact("profile", table=profiles)}
    Retrieve(k=3, min_history=2).run(inputs, out)
    found = np.load(out / "neighbours.npy")
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, [[0, 0, 0], [2, 3, 0], [1, 3, 0], [2, 1, 0], [0, 0, 0], [0, 0, 0]])


def test_a_lone_user_has_no_neighbours(make_sequences, make_artifact, out, caplog) -> None:
    inputs = {"sequences": make_sequences([[1]]), "profile": make_artifact("profile", table=np.array([[0.0], [1.0]]))}
    Retrieve(k=2, min_history=1).run(inputs, out)
    assert not np.load(out / "neighbours.npy").any()
    assert "1 of 1 users can be compared" in caplog.text


def test_no_neighbours_at_all_are_refused() -> None:
    with pytest.raises(ValueError, match=r"steps\.retrieve\.k is 0"):
        Retrieve(k=0)


def test_search_works_beside_torch(rng) -> None:
    import torch

    rows = unit(rng.normal(size=(300, 16)))
    before = torch.from_numpy(rows) @ torch.from_numpy(rows).T
    best = before.fill_diagonal_(-2).argmax(dim=1).numpy()
    np.testing.assert_array_equal(similar(rows, 1)[:, 0], best)
