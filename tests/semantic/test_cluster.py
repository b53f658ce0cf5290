import json
import sys

import numpy as np
import pytest

from sage_pl.artifacts.store import Store
from sage_pl.semantic.cluster import Cluster, ClusteringError, compiling_and_moving, describe
from sage_pl.semantic.memberships import entropies
from sage_pl.semantic.tables import padded

SMALL = Cluster(n_neighbors=8, n_components=2, min_cluster_size=8, min_samples=3)


@pytest.fixture
def blobs(rng, make_artifact):
    """Three groups of 20 items far apart."""
    middle = np.repeat(np.eye(3) * 20, 20, axis=0)
    return make_artifact("reduce", table=padded(middle + rng.normal(size=(60, 3))))


@pytest.mark.parametrize(
    ("items", "sizes"),
    [(28, (5, 2, 3, 2)), (300, (9, 2, 6, 3)), (999, (30, 7, 19, 9)), (1000, (30, 8, 20, 10)), (10**6, (30, 8, 20, 10))],
)
def test_sizes_that_are_not_set_follow_the_number_of_items(items: int, sizes: tuple[int, ...]) -> None:
    names = ("n_neighbors", "n_components", "min_cluster_size", "min_samples")
    step = Cluster(**dict.fromkeys(names)).sized(items)
    assert tuple(getattr(step, name) for name in names) == sizes
    assert SMALL.sized(items) == SMALL, "a size that is set stays"


def test_much_noise_is_a_hint_with_the_keys_to_change(make_artifact, rng, out, caplog, monkeypatch) -> None:
    monkeypatch.setattr(Cluster, "_project", lambda self, points: points[:, :2])
    labels = np.repeat([0, 1, -1], [5, 5, 12])
    monkeypatch.setattr(Cluster, "_cluster", lambda self, projected: (labels, np.ones(22)))
    reduce = make_artifact("reduce", table=padded(rng.normal(size=(22, 3))))
    Cluster(5, n_components=2, min_cluster_size=4, min_samples=3).run({"reduce": reduce}, out)
    assert (
        "55 % of the items are noise, in no cluster: lower steps.cluster.min_samples (now 3) or "
        "steps.cluster.min_cluster_size (now 4)"
    ) in caplog.text


def test_groups_far_apart_are_found_and_stored_alike_by_two_runs(blobs, out, tmp_path) -> None:
    SMALL.run({"reduce": blobs}, out)
    SMALL.run({"reduce": blobs}, tmp_path)
    files = {file.stem: np.load(file) for file in out.glob("*.npy")}
    for name, array in files.items():
        np.testing.assert_array_equal(array, np.load(tmp_path / f"{name}.npy"))
    shares, labels = files["memberships"], files["labels"]
    assert {name: (a.dtype.name, a.shape) for name, a in files.items()} == {
        "memberships": ("float32", (62, 3)),
        "centres": ("float32", (3, 3)),
        "labels": ("int32", (62,)),
        "strength": ("float32", (62,)),
        "umap": ("float32", (62, 2)),
    }
    np.testing.assert_allclose(shares[1:-1].sum(axis=1), 1, atol=1e-6)
    assert not shares[[0, -1]].any()
    assert labels[0] == labels[-1] == -2
    groups = [set(labels[1 + 20 * g : 21 + 20 * g]) - {-1} for g in range(3)]
    assert sorted(map(len, groups)) == [1, 1, 1]
    assert len(set.union(*groups)) == 3
    report = json.loads((out / "report.json").read_text())
    assert report["clusters"] == 3
    assert report["silhouette"] > 0.5
    assert sum(report["sizes"]) == 60 * (1 - report["noise"])


def test_progress_is_shown_on_a_terminal_alone_and_changes_nothing(blobs, out, tmp_path, monkeypatch, capsys) -> None:
    SMALL.run({"reduce": blobs}, out)
    captured = capsys.readouterr()
    assert not captured.out + captured.err
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    SMALL.run({"reduce": blobs}, tmp_path)
    captured = capsys.readouterr()
    assert "UMAP" in captured.err
    assert "HDBSCAN" in captured.err
    assert not captured.out
    for file in out.glob("*.npy"):
        assert file.read_bytes() == (tmp_path / file.name).read_bytes(), file.name


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        pytest.param(np.full(60, -1), "found 0 clusters", id="noise"),
        pytest.param(np.zeros(60, int), "found 1 clusters", id="one"),
    ],
)
def test_degenerate_clusterings_are_refused(blobs, out, monkeypatch, labels, found) -> None:
    monkeypatch.setattr(Cluster, "_project", lambda self, points: points)
    monkeypatch.setattr(Cluster, "_cluster", lambda self, projected: (labels, np.ones(60)))
    with pytest.raises(ClusteringError, match=rf"{found} among 60 items .* lower steps\.cluster\.min_cluster_size"):
        SMALL.run({"reduce": blobs}, out)
    assert not list(out.iterdir())


@pytest.mark.parametrize(
    ("key", "value"), [("n_neighbors", 60), ("n_components", 59), ("min_cluster_size", 31), ("min_samples", 60)]
)
def test_too_few_items_are_refused(blobs, out, key, value) -> None:
    step = Cluster(**{"n_neighbors": 8, "n_components": 2, "min_cluster_size": 8, "min_samples": 3, key: value})
    with pytest.raises(ClusteringError, match=rf"60 items are too few for steps\.cluster\.{key}={value}"):
        step.run({"reduce": blobs}, out)


def test_whole_numbers_name_the_same_artifact(tmp_path, blobs) -> None:
    keys = {Store(tmp_path).key(Cluster(fuzzy_m=m, min_dist=d), {"reduce": blobs}) for m, d in ((2, 0), (2.0, 0.0))}
    assert len(keys) == 1


def test_a_fuzzifier_of_one_is_refused() -> None:
    with pytest.raises(ValueError, match="fuzzy_m is 1"):
        Cluster(fuzzy_m=1.0)


@pytest.mark.parametrize(("share", "entropy"), [(0.5, 1.0), (1.0, 0.0)], ids=["flat", "crisp"])
def test_entropy_is_one_for_flat_and_zero_for_crisp_rows(share, entropy) -> None:
    points, labels = np.array([[0.0], [0.1], [9.0], [9.1]]), np.array([0, 0, 1, 1])
    shares = np.array([[share, 1 - share]] * 4)
    assert describe(points, labels, 2, entropies(shares))["entropy"] == pytest.approx(entropy)


def test_figures_without_a_projection_count_empty_clusters_too() -> None:
    report = describe(None, np.array([0, 0, -1]), 2, entropies(np.full((3, 2), 0.5)))
    assert report == {"clusters": 2, "noise": pytest.approx(1 / 3), "sizes": [2, 0], "silhouette": None, "entropy": 1.0}


def test_an_estimate_stands_before_the_projection(blobs, out, caplog) -> None:
    with caplog.at_level("INFO"):
        SMALL.run({"reduce": blobs}, out)
    lines = [record.getMessage() for record in caplog.records]
    estimate = next(i for i, line in enumerate(lines) if "about 6 s on a free core" in line and "numba" in line)
    assert "UMAP: 60 items" in lines[estimate + 1]
    assert compiling_and_moving(100_000, 64) > 60
