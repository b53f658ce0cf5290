from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sage_pl.artifacts.store import Artifact
from sage_pl.data.plain_pickle import read_plain_pickle
from sage_pl.data.sources.raw import DataError
from sage_pl.reference.export import export_handled
from sage_pl.reference.source import Handled

USERS, ITEMS, D, C = 4, 6, 5, 2


@pytest.fixture
def artifacts(tmp_path: Path) -> dict[str, Artifact]:
    random = np.random.default_rng(0)

    def save(step: str, **arrays: np.ndarray) -> Artifact:
        folder = tmp_path / step
        folder.mkdir()
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", array)
        return Artifact(step, folder, {})

    def floats(*shape: int) -> np.ndarray:
        return random.random(shape, dtype=np.float32)

    none = np.array([], dtype=np.int64)
    parts = {
        "sequences": save(
            "sequences",
            values=np.array([1, 2, 3, 2, 4, 5, 6], dtype=np.int32),
            offsets=np.array([0, 0, 3, 4, 6, 7]),
            train_end=np.array([0, 1, 1, 2, 1]),
            valid_user=none, valid_at=none, test_user=none, test_at=none,
        ),
        "embed": save("embed", table=floats(ITEMS + 2, D)),
        "reduce": save("reduce", table=floats(ITEMS + 2, 3)),
        "cluster": save(
            "cluster",
            labels=np.array([-1, 0, 1, -1, 0, 1, 1, -1], dtype=np.int32),
            strength=floats(ITEMS + 2),
            centres=floats(C, 3),
            memberships=floats(ITEMS + 2, C),
        ),
        "profile": save("profile", table=floats(USERS + 1, D)),
        "retrieve": save("retrieve", neighbours=np.array([[0, 0], [2, 3], [1, 0], [0, 0], [3, 1]], dtype=np.int32)),
    }  # fmt: skip
    pl.DataFrame({"item": range(1, ITEMS + 1)}).write_parquet(tmp_path / "sequences" / "items.parquet")
    return parts


def test_round_trip(tmp_path: Path, artifacts: dict[str, Artifact]) -> None:
    folder = tmp_path / "handled"
    export_handled(folder, artifacts)
    read = {file.stem: read_plain_pickle(file) for file in folder.glob("*.pkl")}
    wanted = {
        "itm_emb_np": artifacts["embed"].array("table")[1:-1],
        "pca64_itm_emb_np": artifacts["reduce"].array("table")[1:-1],
        "usr_emb_np": artifacts["profile"].array("table")[1:],
        "sim_user_100": [[1, 2], [0, 1], [2, 2], [2, 0]],  # 0-based; a user without neighbours is their own
        "hdbscan_best_labels": [0, 1, -1, 0, 1, 1],
        "hdbscan_core_probs": artifacts["cluster"].array("strength")[1:-1],
        "hdbscan_cluster_centers": artifacts["cluster"].array("centres"),
        "hdbscan_fuzzy_U": artifacts["cluster"].array("memberships")[1:-1],
    }
    assert read.keys() == wanted.keys()
    for name, array in wanted.items():
        assert np.array_equal(read[name], array), name
    integers = {"sim_user_100", "hdbscan_best_labels"}
    assert {name for name, array in read.items() if array.dtype == np.int64} == integers
    assert all(array.dtype == np.float64 for name, array in read.items() if name not in integers)


def test_pairs_are_what_the_handled_source_reads(tmp_path: Path, artifacts: dict[str, Artifact]) -> None:
    export_handled(tmp_path / "handled", artifacts)
    assert (tmp_path / "handled" / "inter.txt").read_text() == "1 1\n1 2\n1 3\n2 2\n3 4\n3 5\n4 6\n"
    frame = Handled(tmp_path / "handled").load().interactions.collect()
    assert frame["item_id"].to_list() == artifacts["sequences"].array("values").tolist()


@pytest.mark.parametrize(
    ("step", "name", "wanted"),
    [("embed", "table", ITEMS + 2), ("cluster", "memberships", ITEMS + 2), ("retrieve", "neighbours", USERS + 1)],
    ids=["items", "memberships", "users"],
)
def test_wrong_row_count_is_refused_and_nothing_is_left(
    tmp_path: Path, artifacts: dict[str, Artifact], step: str, name: str, wanted: int
) -> None:
    file = artifacts[step].path / f"{name}.npy"
    np.save(file, np.load(file)[:-1])
    before = sorted(tmp_path.iterdir())
    with pytest.raises(DataError, match=rf"{name}\.npy .* has {wanted - 1} rows where the sequences need {wanted}"):
        export_handled(tmp_path / "handled", artifacts)
    assert sorted(tmp_path.iterdir()) == before


def test_a_missing_artifact_is_named(tmp_path: Path, artifacts: dict[str, Artifact]) -> None:
    del artifacts["profile"]
    with pytest.raises(DataError, match=r"no artifact of profile.*prepare\.py"):
        export_handled(tmp_path / "handled", artifacts)


def test_a_failed_write_leaves_nothing(
    tmp_path: Path, artifacts: dict[str, Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("sage_pl.reference.export.pickle.dump", full)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(OSError, match="no space"):
        export_handled(tmp_path / "handled", artifacts)
    assert sorted(tmp_path.iterdir()) == before


def test_a_folder_with_content_is_kept(tmp_path: Path, artifacts: dict[str, Artifact]) -> None:
    folder = tmp_path / "handled"
    folder.mkdir()
    (folder / "inter.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="not empty"):
        export_handled(folder, artifacts)
    assert (folder / "inter.txt").read_text() == "mine"
