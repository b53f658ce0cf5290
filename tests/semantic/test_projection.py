import numpy as np
import pytest

from sage_pl.semantic.projection import nearest, project


@pytest.mark.parametrize("shift", [0, 1000], ids=["near zero", "far from zero, where products round"])
def test_neighbours_are_those_of_all_distances(rng, shift) -> None:
    points = (shift + rng.normal(size=(300, 6))).astype(np.float32)
    ids, distances = nearest(points, 8)
    every = np.linalg.norm(points.astype(np.float64)[:, None] - points[None], axis=2)
    np.testing.assert_array_equal(ids[:, 0], np.arange(300))
    np.testing.assert_allclose(distances, np.take_along_axis(every, ids, axis=1), rtol=1e-6)
    if not shift:
        np.testing.assert_allclose(distances, np.sort(every, axis=1)[:, :8], rtol=1e-6)


def test_a_point_is_its_own_first_neighbour_among_more_equals_than_fit(rng) -> None:
    points = np.repeat(rng.normal(size=(3, 4)), 20, axis=0).astype(np.float32)
    ids, distances = nearest(points, 5)
    np.testing.assert_array_equal(ids[:, 0], np.arange(60))
    assert not distances.any()
    assert all(len(set(row)) == 5 for row in ids.tolist())
    np.testing.assert_array_equal(ids // 20, np.repeat([0, 1, 2], 20)[:, None].repeat(5, axis=1))


def test_two_calls_give_one_layout_of_more_points_than_umap_compares_exhaustively(rng) -> None:
    points = rng.normal(size=(4100, 8))
    first, second = (project(points, 10, 42, n_epochs=5, init="random") for _ in range(2))
    assert first.shape == (4100, 2)
    np.testing.assert_array_equal(first, second)
