import json

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from sage_pl.artifacts.identity import identity
from sage_pl.semantic.cluster import Cluster, ClusteringError
from sage_pl.semantic.sampling import Clustering, carried, sample_of
from sage_pl.semantic.tables import padded

SAMPLE = Clustering(np.array([[0.0], [1.0], [8.0], [9.0]]), np.array([0, 0, 1, -1]), np.array([1.0, 0.5, 0.8, 0.0]))


def test_a_point_follows_its_neighbours_by_inverse_distance() -> None:
    points = np.array([[0.0], [1.0], [10.0], [4.0], [13.0], [12.0], [0.0]])
    rows = np.array([0, 2, 4, 5])
    got = carried(points, rows, SAMPLE._replace(labels=np.array([0, 1, 1, -1])), k=2)
    for mine, given in zip(got, (SAMPLE.projected, [0, 1, 1, -1], SAMPLE.strength), strict=True):
        np.testing.assert_array_equal(mine[rows], given)
    # 1 is at 1 from 0 and 9 from 10, 4 at 4 and 6; the last one is a twin of the first.
    np.testing.assert_allclose(got.projected[[1, 3, 6], 0], [0.1, 0.4, 0], atol=1e-9)
    np.testing.assert_array_equal(got.labels[[1, 3, 6]], [0, 0, 0])
    np.testing.assert_allclose(got.strength[[1, 3, 6]], [0.9, 0.6, 1], atol=1e-9)


def test_noise_is_a_label_like_others() -> None:
    got = carried(np.array([[0.0], [1.0], [10.0], [12.0], [11.8]]), np.arange(4), SAMPLE, k=2)
    assert got.labels[-1] == -1
    assert got.strength[-1] == 0


def test_a_sample_is_a_set_of_rows_in_order_and_the_same_again() -> None:
    rows = sample_of(1000, 100)
    assert len(set(rows.tolist())) == 100
    assert (np.diff(rows) > 0).all()
    np.testing.assert_array_equal(rows, sample_of(1000, 100))


def test_clusters_of_a_sample_are_those_of_all_items(make_artifact, rng, tmp_path) -> None:
    truth = np.repeat(np.arange(6), 100)
    reduce = make_artifact("reduce", table=padded(6 * rng.normal(size=(6, 8))[truth] + rng.normal(size=(600, 8))))
    labels = {}
    for sample in (None, 240):
        step = Cluster(10, n_components=2, min_cluster_size=15, min_samples=4, sample=sample)
        (out := tmp_path / str(sample)).mkdir()
        step.run({"reduce": reduce}, out)
        labels[sample] = np.load(out / "labels.npy")[1:-1]
        np.testing.assert_allclose(np.load(out / "memberships.npy")[1:-1].sum(1), 1, atol=1e-6)
        assert len(np.load(out / "umap.npy")) == 602
        assert json.loads((out / "report.json").read_text()).get("sample") == sample
    assert adjusted_rand_score(truth, labels[240]) > 0.95
    assert adjusted_rand_score(labels[None], labels[240]) > 0.95


def test_a_sample_too_small_for_the_sizes_is_refused(make_artifact, rng, out) -> None:
    reduce = make_artifact("reduce", table=padded(rng.normal(size=(60, 3))))
    step = Cluster(30, n_components=2, min_cluster_size=5, min_samples=2, sample=20)
    with pytest.raises(
        ClusteringError, match=r"the 20 items of steps\.cluster\.sample are too few for .*n_neighbors=30"
    ):
        step.run({"reduce": reduce}, out)


def test_artifacts_older_than_the_sample_keep_their_keys() -> None:
    assert "sample" not in identity(Cluster())
    assert identity(Cluster(sample=500))["sample"] == 500
    assert "sample" in identity(Cluster(sample=None))
