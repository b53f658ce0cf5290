"""A checkpoint and artifacts of version 0.1, whose modules had other names, are opened as they are.

The files are a run of ``method=llm_init backbone=gru4rec dim=2`` on a made-up data set of 24 users and 16 items; the paths in
the checkpoint were made relative.
"""

from __future__ import annotations

import inspect
import json
import shutil
from pathlib import Path

import pytest
from hydra.utils import get_class
from omegaconf import OmegaConf

from sage_pl.artifacts.renamed import current
from sage_pl.artifacts.store import ArtifactError
from sage_pl.comparison.runs import read
from sage_pl.runs import checkpoint, evaluated, tested

FILES = Path(__file__).parent / "earlier_version"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(FILES, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_is_evaluated_with_the_artifacts_it_was_trained_with(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    earlier = checkpoint.open_checkpoint(folder / "best.ckpt")
    manifests = sorted((folder / "artifacts").glob("*/*/manifest.json"))
    caplog.set_level("INFO")
    config = checkpoint.prepared(earlier, {})
    assert sorted((folder / "artifacts").glob("*/*/manifest.json")) == manifests
    assert "running" not in caplog.text
    assert "the model was trained with" not in caplog.text
    metrics = tested.test(config, checkpoint.trained(config, earlier), folder / "out", folder / "artifacts")
    for name, value in json.loads((folder / "metrics.json").read_text()).items():
        assert metrics[name] == pytest.approx(value, abs=1e-6), name


def test_the_artifacts_it_was_trained_with_answer_even_where_the_data_are_gone(folder: Path) -> None:
    shutil.rmtree(folder / "world")
    earlier = checkpoint.open_checkpoint(folder / "best.ckpt")
    artifacts = checkpoint.finished_artifacts(earlier, {})
    assert {name: artifact.key for name, artifact in artifacts.items()}.items() <= dict(earlier.artifact_keys).items()
    assert checkpoint.prepared(earlier, {}).catalog.n_items == 16


def test_they_are_made_again_where_one_is_gone_or_a_change_asks_for_others(folder: Path) -> None:
    earlier = checkpoint.open_checkpoint(folder / "best.ckpt")
    assert checkpoint.finished_artifacts(earlier, {"evaluation": {"seen": "keep"}})
    assert not checkpoint.finished_artifacts(earlier, {"evaluation": {"seed": 7}})
    shutil.rmtree(folder / "artifacts" / "candidates")
    assert not checkpoint.finished_artifacts(earlier, {})


def test_it_is_recorded_as_a_run_with_another_scorer(folder: Path) -> None:
    earlier = checkpoint.open_checkpoint(folder / "best.ckpt")
    changes = {
        "scorer": {"_target_": "sage_pl.nn.scorers.semantic.SemanticSimilarity", "n_items": "${catalog.n_items}"}
    }
    changes["scorer"] |= {"text": "${artifacts.embed}", "weight": 1}
    config = checkpoint.prepared(earlier, changes)
    evaluated.record(evaluated.as_a_run(earlier, changes, "semantic", config), folder)
    tested.test(config, checkpoint.trained(config, earlier), folder, folder / "artifacts")
    run = read(folder)
    assert (run.scorer, run.name_by("scorer"), run.converged) == ("semantic", "semantic", None)


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)


def test_a_damaged_artifact_that_cannot_be_made_again_is_named(folder: Path) -> None:
    flip(next((folder / "artifacts" / "candidates").glob("*/test.npy")))
    with pytest.raises(
        ArtifactError, match=r"test\.npy has another content .*, and it cannot be made again: .*steps\.scft"
    ):
        checkpoint.prepared(checkpoint.open_checkpoint(folder / "best.ckpt"), {})


def test_every_class_it_names_is_there_under_its_present_name(folder: Path) -> None:
    recipe = checkpoint.open_checkpoint(folder / "best.ckpt").recipe
    assert recipe["backbone"]["_target_"] == "sage_pl.nn.backbones.gru4rec.GRU4Rec"
    assert recipe["model"]["_target_"] == "sage_pl.nn.modules.sequential.SequentialRecommender"


def test_names_that_did_not_move_stay() -> None:
    assert current({"a": [{"_target_": "torch.optim.Adam"}], "b": "sage_pl.models.x"}) == {
        "a": [{"_target_": "torch.optim.Adam"}],
        "b": "sage_pl.models.x",
    }


@pytest.mark.parametrize("name", ["sam", "comirec", "sine"])
def test_interests_of_an_earlier_version_have_the_names_of_the_configuration(name: str) -> None:
    earlier = {
        "sam": "interest_attention.InterestAttention",
        "comirec": "self_attentive.SelfAttentive",
        "sine": "sparse_interests.SparseInterests",
    }
    node = OmegaConf.load(Path("conf/sequence_encoder") / f"{name}.yaml").extractor
    assert current({"_target_": f"sage_pl.sequence_encoders.{earlier[name]}"}) == {"_target_": node._target_}


@pytest.mark.parametrize(
    ("file", "key", "published"),
    [
        ("sequence_encoder/dual", "own_position", None),
        ("item_encoder/dual", "standardise", False),
        ("loss/term/prototype", "sequences", None),
        ("loss/term/alignment", "cosine", False),
        ("item_encoder/gate/frequency", "unseen", None),
        ("loss/term/text_to_code", "layer_norm", False),
        ("loss/term/query_to_code", "layer_norm", False),
        ("sequence_encoder/sam", "gamma", 0.0),
        ("describer/local", "prompt_version", 1),
        ("describer/openai", "prompt_version", 1),
    ],
)
def test_a_key_that_an_earlier_recipe_lacks_means_the_published_form(file: str, key: str, published: object) -> None:
    node = OmegaConf.load(Path("conf") / f"{file}.yaml")
    assert inspect.signature(get_class(node._target_)).parameters[key].default == published
    assert OmegaConf.to_container(node)[key] != published, "the configuration's default is the remedy"
