import numpy as np
import pytest

from sage_pl.semantic.interests.linkage import average_linkage, cosine_distances, silhouettes


def points(n_sets: int, n: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(n_sets, n, 5))
    return rows / np.linalg.norm(rows, axis=2, keepdims=True)


def same_partition(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(((a[:, None] == a[None]) == (b[:, None] == b[None])).all())


def test_distances_by_hand() -> None:
    given = np.array([[[1.0, 0], [0, 1], [-1, 0], [0.6, 0.8]]])
    expected = [[0, 1, 2, 0.4], [1, 0, 1, 0.2], [2, 1, 0, 1.6], [0.4, 0.2, 1.6, 0]]
    np.testing.assert_allclose(cosine_distances(given)[0], expected, atol=1e-12)


def test_joined_clusters_by_hand() -> None:
    """1 and 3 join first (0.2), then 0 to them (mean of 1 and 0.4), then 2."""
    distances = cosine_distances(np.array([[[1.0, 0], [0, 1], [-1, 0], [0.6, 0.8]]]))
    cuts, gaps = average_linkage(distances, 4)
    np.testing.assert_allclose(gaps[:, 0], [np.inf, (1 + 1.6 + 2) / 3, 0.7, 0.2])
    assert cuts[:, 0].tolist() == [[0, 0, 0, 0], [0, 0, 2, 0], [0, 1, 2, 1], [0, 1, 2, 3]]


@pytest.mark.parametrize("n", [3, 7, 20])
def test_the_hierarchy_is_that_of_scipy(n: int) -> None:
    from scipy.cluster.hierarchy import cut_tree, linkage
    from scipy.spatial.distance import squareform

    distances = cosine_distances(points(12, n))
    cuts, gaps = average_linkage(distances, n)
    for row, given in enumerate(distances):
        tree = linkage(squareform(given), method="average")
        np.testing.assert_allclose(gaps[1:, row], tree[::-1, 2], atol=1e-5)
        for k in range(1, n + 1):
            assert len(np.unique(cuts[k - 1, row])) == k
            assert same_partition(cuts[k - 1, row], cut_tree(tree, n_clusters=k)[:, 0])


@pytest.mark.parametrize("k", [2, 3, 6])
def test_silhouettes_are_those_of_scikit_learn(k: int) -> None:
    from sklearn.metrics import silhouette_score

    distances, random = cosine_distances(points(12, 9)), np.random.default_rng(1)
    labels = np.stack([random.permutation(np.arange(9) % k) for _ in range(12)])
    labels[0] = [0, 1, 1, 1, 1, 1, 1, 1, 1]  # one alone
    expected = [silhouette_score(d, own, metric="precomputed") for d, own in zip(distances, labels, strict=True)]
    np.testing.assert_allclose(silhouettes(distances, labels), expected, atol=1e-12)


def test_a_silhouette_by_hand() -> None:
    distances = np.array([[[0, 1, 4], [1, 0, 2], [4, 2, 0]]], dtype=float)
    assert silhouettes(distances, np.array([[0, 0, 2]])) == pytest.approx(((4 - 1) / 4 + (2 - 1) / 2 + 0) / 3)


def test_equal_points_tie_the_same_way_every_time() -> None:
    twins = np.repeat(points(1, 3), 2, axis=1)
    cuts = average_linkage(cosine_distances(twins), 3)[0][:, 0]
    assert cuts[2].tolist() == [0, 0, 2, 2, 4, 4]
    assert silhouettes(cosine_distances(twins[:, :2]), np.array([[0, 1]])) == 0


def test_no_set_depends_on_the_others() -> None:
    given = cosine_distances(points(6, 8))
    together, _ = average_linkage(given, 4)
    for row in range(6):
        np.testing.assert_array_equal(average_linkage(given[row : row + 1], 4)[0][:, 0], together[:, row])
        alone = silhouettes(given[row : row + 1], together[2, row : row + 1])
        assert alone[0] == silhouettes(given, together[2])[row]
