import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sage_pl.artifacts.identity import identity
from sage_pl.artifacts.store import Artifact, Step, Store
from sage_pl.data.interactions import Interactions
from sage_pl.data.sources.folder import Folder
from sage_pl.data.split import LeaveOneOut
from sage_pl.reference.export import export_handled
from sage_pl.reference.source import Handled
from sage_pl.reference.steps import (
    HandledStep,
    PrecomputedCluster,
    PrecomputedProfile,
    PrecomputedReduce,
    PrecomputedRetrieve,
)

U, N, D, C = 4, 6, 3, 2
PAIRS = "1 1\n1 2\n1 3\n2 2\n2 4\n2 1\n3 5\n3 6\n3 1\n4 6\n4 5\n4 2\n"
STEPS = [PrecomputedReduce, PrecomputedCluster, PrecomputedProfile, PrecomputedRetrieve]
Change = Callable[..., None]


@pytest.fixture
def sequences(tmp_path, handled) -> Artifact:
    return load(handled, tmp_path / "sequences")


@pytest.fixture
def handled(tmp_path) -> Path:
    """A folder as the reference leaves it: float64 and int64 arrays of numpy, one row per item or user."""
    folder, rng = tmp_path / "handled", np.random.default_rng(1)
    folder.mkdir()
    (folder / "inter.txt").write_text(PAIRS)
    shares = rng.random((N, C))
    write(
        folder,
        pca64_itm_emb_np=rng.normal(size=(N, D)),
        usr_emb_np=rng.normal(size=(U, D)),
        sim_user_100=np.array([[1, 2, 3], [0, 3, 2], [3, 0, 1], [2, 1, 0]]),
        hdbscan_best_labels=np.array([0, 1, -1, 0, 1, 1]),
        hdbscan_core_probs=np.array([1, 0.5, 0, 0.25, 1, 0.75]),
        hdbscan_cluster_centers=rng.normal(size=(C, D)),
        hdbscan_fuzzy_U=shares / shares.sum(axis=1, keepdims=True),
    )
    return folder


def write(folder: Path, **content: object) -> None:
    for name, value in content.items():
        (folder / f"{name}.pkl").write_bytes(pickle.dumps(value))


def load(folder: Path, out: Path) -> Artifact:
    out.mkdir(exist_ok=True)
    Interactions(Handled(folder), LeaveOneOut()).run({}, out)
    (out / "manifest.json").write_text(json.dumps({"key": "sequences"}))
    return Artifact.at(out)


def read(step: HandledStep, sequences: Artifact, out: Path) -> dict[str, np.ndarray]:
    step.run({"sequences": sequences}, out)
    return {file.stem: np.load(file) for file in out.glob("*.npy")}


def content(folder: Path, name: str) -> np.ndarray:
    return pickle.loads((folder / f"{name}.pkl").read_bytes())  # noqa: S301 - written above


def test_item_rows_stand_at_their_ids(handled, sequences, out) -> None:
    found = read(PrecomputedReduce(handled), sequences, out)
    assert found.keys() == {"table"}
    assert found["table"].dtype == np.float32
    assert not found["table"][[0, -1]].any()
    np.testing.assert_array_equal(found["table"][1:-1], content(handled, "pca64_itm_emb_np").astype(np.float32))


def test_item_rows_follow_the_sources_ids_not_the_order_of_appearance(tmp_path, handled, out) -> None:
    (handled / "inter.txt").write_text("1 3\n1 1\n1 2\n2 6\n2 5\n2 4\n3 1\n3 2\n3 3\n4 4\n4 5\n4 6\n")
    table = read(PrecomputedReduce(handled), load(handled, tmp_path / "other"), out)["table"]
    rows = content(handled, "pca64_itm_emb_np").astype(np.float32)
    np.testing.assert_array_equal(table[1:-1], rows[[2, 0, 1, 5, 4, 3]])


def test_user_rows_stand_at_their_ids(handled, sequences, out) -> None:
    table = read(PrecomputedProfile(handled), sequences, out)["table"]
    assert table.dtype == np.float32
    assert not table[0].any()
    np.testing.assert_array_equal(table[1:], content(handled, "usr_emb_np").astype(np.float32))


def test_clusters_are_taken_as_they_are(handled, sequences, out) -> None:
    found = read(PrecomputedCluster(handled), sequences, out)
    assert {name: (a.dtype.name, a.shape) for name, a in found.items()} == {
        "memberships": ("float32", (N + 2, C)),
        "centres": ("float32", (C, D)),
        "labels": ("int32", (N + 2,)),
        "strength": ("float32", (N + 2,)),
    }
    np.testing.assert_array_equal(found["labels"], [-2, 0, 1, -1, 0, 1, 1, -2])
    np.testing.assert_array_equal(found["strength"], np.float32([0, 1, 0.5, 0, 0.25, 1, 0.75, 0]))
    np.testing.assert_array_equal(found["centres"], content(handled, "hdbscan_cluster_centers").astype(np.float32))
    np.testing.assert_array_equal(found["memberships"][1:-1], content(handled, "hdbscan_fuzzy_U").astype(np.float32))
    assert not found["memberships"][[0, -1]].any()
    report = json.loads((out / "report.json").read_text())
    assert report["sizes"] == [2, 3]
    assert report["noise"] == pytest.approx(1 / 6)
    assert report["silhouette"] is None


def test_positions_become_ids_and_a_users_own_place_is_left_out(handled, sequences, out) -> None:
    write(handled, sim_user_100=np.array([[0, 2, 3], [0, 3, 2], [3, 2, 1], [3, 3, 3]]))
    found = read(PrecomputedRetrieve(handled), sequences, out)["neighbours"]
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, [[0, 0, 0], [3, 4, 0], [1, 4, 3], [4, 2, 0], [0, 0, 0]])


def test_lists_are_read_as_arrays_are(handled, sequences, tmp_path, out) -> None:
    expected = read(PrecomputedRetrieve(handled), sequences, tmp_path)["neighbours"]
    write(handled, sim_user_100=content(handled, "sim_user_100").tolist())
    np.testing.assert_array_equal(read(PrecomputedRetrieve(handled), sequences, out)["neighbours"], expected)


def test_what_is_exported_is_read_back_bit_for_bit(sequences, make_artifact, tmp_path) -> None:
    rng = np.random.default_rng(0)

    def table(rows: int, *width: int) -> np.ndarray:
        values = rng.random((rows, *width), dtype=np.float32)
        values[[0, -1]] = 0
        return values

    shares = table(N + 2, C)
    shares[1:-1] /= shares[1:-1].sum(axis=1, keepdims=True)
    users = rng.random((U + 1, D), dtype=np.float32)
    users[0] = 0
    native = {
        "embed": {"table": table(N + 2, D)},
        "reduce": {"table": table(N + 2, D)},
        "profile": {"table": users},
        "retrieve": {"neighbours": np.array([[0, 0, 0], [2, 3, 4], [1, 0, 0], [0, 0, 0], [3, 1, 0]], dtype=np.int32)},
        "cluster": {
            "memberships": shares,
            "centres": rng.random((C, D), dtype=np.float32),
            "labels": np.array([-2, 0, 1, -1, 0, 1, 1, -2], dtype=np.int32),
            "strength": table(N + 2),
        },
    }
    artifacts = {name: make_artifact(name, **arrays) for name, arrays in native.items()}
    export_handled(tmp_path / "exported", {"sequences": sequences, **artifacts})
    again = load(tmp_path / "exported", tmp_path / "again")
    for name in ("values", "offsets", "train_end"):
        np.testing.assert_array_equal(again.array(name), sequences.array(name))
    for kind in STEPS:
        (out := tmp_path / f"read {kind.name}").mkdir()
        found = read(kind(tmp_path / "exported"), again, out)
        assert found.keys() == native[kind.name].keys()
        for name, array in native[kind.name].items():
            assert found[name].dtype == array.dtype, name
            np.testing.assert_array_equal(found[name], array, err_msg=name)


FULL = np.full((N, C), 0.5)


@pytest.mark.parametrize(
    ("kind", "file", "value", "message"),
    [
        (PrecomputedReduce, "pca64_itm_emb_np", np.ones((N - 1, D)), r"an array \(5, 3\), wanted numbers \[6, D\]"),
        (PrecomputedReduce, "pca64_itm_emb_np", np.ones(N), r"a float64 array \(6,\), wanted numbers \[6, D\]"),
        (PrecomputedReduce, "pca64_itm_emb_np", np.ones((N, 0)), r"a float64 array \(6, 0\), wanted numbers"),
        (PrecomputedReduce, "pca64_itm_emb_np", np.full((N, D), "x"), "wanted numbers"),
        (PrecomputedReduce, "pca64_itm_emb_np", {"rows": 1}, "holds no array"),
        (PrecomputedReduce, "pca64_itm_emb_np", [[1.0], [1.0, 2.0]], "holds no array"),
        (PrecomputedReduce, "pca64_itm_emb_np", np.diag([1, 1, 1, np.nan, 1, np.inf]), "2 rows hold NaN .*row 3"),
        (
            PrecomputedReduce,
            "pca64_itm_emb_np",
            np.full((N, D), 1e300),
            "6 rows hold NaN or numbers infinite in float32",
        ),
        (PrecomputedReduce, "pca64_itm_emb_np", Path("x"), "refused the name pathlib"),
        (PrecomputedProfile, "usr_emb_np", np.ones((U + 1, D)), r"wanted numbers \[4, D\]"),
        (PrecomputedRetrieve, "sim_user_100", np.ones((U, 3)), r"wanted whole numbers \[4, k\]"),
        (PrecomputedRetrieve, "sim_user_100", np.full((U, 3), U), "reach from 4 to 4, wanted 0 to 3 .*count from 0"),
        (PrecomputedCluster, "hdbscan_best_labels", np.arange(N), "from 0 to 5, wanted -1 to 1"),
        (PrecomputedCluster, "hdbscan_core_probs", np.arange(N), "strengths reach from 0 to 5, wanted 0 to 1"),
        (PrecomputedCluster, "hdbscan_fuzzy_U", np.full((N, C), 0.3), r"sum to 0\.6 to 0\.6, wanted 1"),
        (PrecomputedCluster, "hdbscan_fuzzy_U", FULL * [3, -1], "reach from -0.5 to 1.5"),
        (PrecomputedCluster, "hdbscan_fuzzy_U", np.full((N, C + 1), 1 / 3), r"wanted numbers \[6, 2\]"),
        (PrecomputedCluster, "hdbscan_cluster_centers", np.full((C, D), np.nan), "2 rows hold NaN"),
    ],
)
def test_unfit_files_are_refused(handled, sequences, out, kind, file, value, message) -> None:
    write(handled, **{file: value})
    with pytest.raises(ValueError, match=message) as error:
        kind(handled).run({"sequences": sequences}, out)
    assert f"{file}.pkl" in str(error.value)
    assert not list(out.iterdir())


def test_one_cluster_is_refused(handled, sequences, out) -> None:
    write(handled, hdbscan_fuzzy_U=np.ones((N, 1)), hdbscan_cluster_centers=np.ones((1, D)))
    with pytest.raises(ValueError, match="has 1 cluster, wanted at least 2"):
        PrecomputedCluster(handled).run({"sequences": sequences}, out)


@pytest.mark.parametrize("kind", STEPS, ids=lambda kind: kind.name)
def test_a_missing_file_is_named_with_what_to_do(handled, sequences, out, kind) -> None:
    (handled / kind.file_names[-1]).unlink()
    message = rf"no file {kind.file_names[-1]} in folder .*steps\.{kind.name}\.path=DIR.* 'steps\.{kind.name}=\$"
    with pytest.raises(FileNotFoundError, match=message):
        kind(handled).run({"sequences": sequences}, out)
    with pytest.raises(FileNotFoundError, match=message):
        kind(handled).fingerprint()


def test_a_folder_must_be_named() -> None:
    with pytest.raises(ValueError, match=r"steps\.cluster\.path is not set; .*dataset\.path=DIR"):
        PrecomputedCluster(None)


@pytest.mark.parametrize(("kind", "what"), [(PrecomputedReduce, "item"), (PrecomputedRetrieve, "user")])
def test_other_ids_are_refused(tmp_path, handled, out, kind, what) -> None:
    rows = [line.split() for line in PAIRS.splitlines()]
    shift = {"user": (7, 0), "item": (0, 7)}[what]
    shifted = "".join(f"{int(user) + shift[0]} {int(item) + shift[1]}\n" for user, item in rows)
    (handled / "inter.txt").write_text(shifted)
    message = rf"{what} ids 1\.\.\d, but this data set's are others \(the first is 8\)"
    with pytest.raises(ValueError, match=message):
        kind(handled).run({"sequences": load(handled, tmp_path / "shifted")}, out)


def test_named_ids_are_refused(tmp_path, handled, out) -> None:
    data = tmp_path / "named"
    data.mkdir()
    frame = pl.DataFrame([line.split() for line in PAIRS.splitlines()], schema=["user_id", "item_id"], orient="row")
    frame.with_row_index("timestamp").with_columns(pl.col("timestamp").cast(pl.Int64)).write_parquet(
        data / "interactions.parquet"
    )
    Interactions(Folder(data), LeaveOneOut()).run({}, data)
    (data / "manifest.json").write_text('{"key": "named"}')
    with pytest.raises(ValueError, match=r"item ids 1\.\.6, .* \(the first is '1'\)"):
        PrecomputedReduce(handled).run({"sequences": Artifact.at(data)}, out)


@pytest.mark.parametrize("kind", STEPS, ids=lambda kind: kind.name)
def test_the_key_is_the_content_not_the_place(tmp_path, handled, sequences, kind) -> None:
    (copy := tmp_path / "copy").mkdir()
    for file in handled.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    store, parents = Store(tmp_path / "store"), {"sequences": sequences}
    key = store.key(kind(handled), parents)
    assert isinstance(kind(handled), Step)
    assert store.key(kind(copy), parents) == key
    for name in kind.file_names:
        before = (copy / name).read_bytes()
        write(copy, **{Path(name).stem: content(copy, Path(name).stem) * 2})
        assert store.key(kind(copy), parents) != key, name
        (copy / name).write_bytes(before)
    other = next(other for other in STEPS if other is not kind)
    assert identity(kind(handled)) != identity(other(handled))
