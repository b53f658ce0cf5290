"""A reference ``handled/`` folder instead of preparation: what is exported is read back, and a run needs nothing else."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sage_pl.commands.door import open_door
from sage_pl.commands.prepare import export_handled
from sage_pl.runs.preparation import prepare
from tests.planned import composed, planned

ROOT = Path(__file__).parent.parent.parent
STEPS = ["embed", "reduce", "cluster", "profile", "retrieve"]
NOT_IN_THE_FOLDER = {"explained", "umap"}


@pytest.fixture(scope="module")
def handled(small_settings: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small world's results, as the reference would have left them."""
    folder = tmp_path_factory.mktemp("reference") / "handled"
    export_handled(composed(*small_settings, f"folder={folder}", name="export_handled"))
    return folder


@pytest.fixture
def from_folder(small_settings: list[str], handled: Path, tmp_path: Path) -> Callable[[Path], list[str]]:
    """Overrides that take everything from a folder and share no cache with the run that exported it."""

    def settings(folder: Path) -> list[str]:
        others = [s for s in small_settings if not s.startswith(("dataset=", "dataset.path", "embedder", "steps."))]
        given = ["dataset=handled", f"dataset.path={folder}", "semantic=handled", "embedder=precomputed"]
        return [*others, *given, f"steps.embed.path={folder}/itm_emb_np.pkl", f"paths.artifacts={tmp_path / 'cache'}"]

    return settings


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """``train.py`` in this process; returns the run's folder."""
    script = str(ROOT / "train.py")

    def run(*overrides: str) -> Path:
        folder = tmp_path / "run"
        monkeypatch.setattr(sys, "argv", [script, *overrides, f"hydra.run.dir='{folder}'"])
        open_door("train", script)
        return folder

    return run


def test_the_folder_gives_what_the_native_steps_gave(
    small_settings: list[str], handled: Path, from_folder: Callable[[Path], list[str]]
) -> None:
    native = prepare(planned(*small_settings, wanted=STEPS))
    read = prepare(planned(*from_folder(handled), wanted=STEPS))
    assert [read["cluster"].manifest["params"]["class"], read["embed"].manifest["params"]["class"]] == [
        "PrecomputedCluster",
        "PrecomputedEmbedder",
    ]
    for name in ("values", "offsets", "train_end", "valid_at", "test_at"):
        np.testing.assert_array_equal(read["sequences"].array(name), native["sequences"].array(name))
    for step in STEPS:
        arrays = {file.stem for file in native[step].path.glob("*.npy")} - NOT_IN_THE_FOLDER
        assert arrays == {file.stem for file in read[step].path.glob("*.npy")}, step
        for name in arrays:
            ours, theirs = native[step].array(name), read[step].array(name)
            assert ours.dtype == theirs.dtype, (step, name)
            np.testing.assert_array_equal(ours, theirs, err_msg=f"{step} {name}")


def metrics_of(run: Path) -> dict[str, float]:
    """Metrics but for what needs times or words, which a handled/ folder does not have."""
    found = json.loads((run / "metrics.json").read_text())
    return {name: value for name, value in found.items() if "/day_" not in name and "text_similarity" not in name}


def test_a_run_is_trained_from_the_folder_alone_and_equals_the_native_one(
    small_settings: list[str],
    handled: Path,
    from_folder: Callable[[Path], list[str]],
    train: Callable[..., Path],
    run_train: Callable[..., Path],
    tmp_path: Path,
) -> None:
    run = train(*from_folder(handled), "method=sage", "trainer.max_epochs=1", "floors=false")
    metrics = metrics_of(run)
    assert "test/full/ndcg@10" in metrics
    made = {folder.name for folder in (tmp_path / "cache").iterdir()}
    assert made == {"sequences", "candidates", "embed", "reduce", "cluster", "retrieve"}
    native = run_train("method=sage", "trainer.max_epochs=1", "floors=false")
    assert metrics == metrics_of(native)


def test_a_step_may_be_read_from_another_folder_or_computed(
    handled: Path, from_folder: Callable[[Path], list[str]], tmp_path: Path
) -> None:
    (other := tmp_path / "other").mkdir()
    (part := tmp_path / "part").mkdir()
    for file in handled.iterdir():
        place = other if file.name == "sim_user_100.pkl" else part
        if not file.name.startswith("hdbscan"):
            (place / file.name).write_bytes(file.read_bytes())
    mixed = [f"steps.retrieve.path={other}", "steps.cluster=${native.cluster}"]
    made = prepare(planned(*from_folder(part), *mixed, wanted=["cluster", "retrieve"]))
    classes = {name: made[name].manifest["params"]["class"] for name in ("reduce", "cluster", "retrieve")}
    assert classes == {"reduce": "PrecomputedReduce", "cluster": "Cluster", "retrieve": "PrecomputedRetrieve"}
    shares = made["cluster"].array("memberships")[1:-1].sum(axis=1)
    np.testing.assert_allclose(shares, 1, atol=1e-6)


@pytest.mark.parametrize(
    ("file", "answer"),
    [
        ("hdbscan_fuzzy_U.pkl", "no file hdbscan_fuzzy_U.pkl in folder"),
        ("itm_emb_np.pkl", "set steps.embed.path=FILE"),
        ("inter.txt", "no file inter.txt in folder"),
    ],
)
def test_a_folder_that_lacks_a_file_is_answered_in_words(
    handled: Path,
    from_folder: Callable[[Path], list[str]],
    train: Callable[..., Path],
    tmp_path: Path,
    file: str,
    answer: str,
) -> None:
    (part := tmp_path / "part").mkdir()
    for source in handled.iterdir():
        if source.name != file:
            (part / source.name).write_bytes(source.read_bytes())
    with pytest.raises(SystemExit):
        train(*from_folder(part), "method=sage")
    log = (tmp_path / "run" / "train.log").read_text()
    assert answer in log
    assert "Traceback" not in log
