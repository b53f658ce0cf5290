"""LLMEmb from the tuning of the encoder to the metrics, on the small world with a tiny encoder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from omegaconf import OmegaConf

from tests.conftest import KINDS, _runner
from tests.planned import planned
from tests.semantic.scft.tiny import write_bert

Run = Callable[..., Path]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A text encoder of two layers that knows the small world's words, and the outputs of this module's runs."""
    words = sorted(
        {word for text in KINDS.values() for word in text.split()} | {*KINDS, "number", *map(str, range(40))}
    )
    place = tmp_path_factory.mktemp("llmemb")
    return write_bert(place / "tiny-bert", words), place / "outputs"


@pytest.fixture
def run(shared: tuple[str, Path], small_settings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """``train.py method=llmemb`` with that encoder instead of the small world's word counts."""
    settings = [entry for entry in small_settings if "embed" not in entry and "paths.outputs" not in entry]
    encoder, outputs = shared
    quick = ["steps.scft.trainer.max_epochs=1", "steps.scft.training.batch_size=8"]
    mine = ["method=llmemb", f"paths.outputs={outputs}", f"steps.scft.model={encoder}", "trainer.max_epochs=1"]
    return _runner("train", [*settings, *mine, *quick], tmp_path, monkeypatch)


def artifacts(folder: Path) -> dict[str, str]:
    config = OmegaConf.load(folder / "config.yaml")
    return {name: path for name, path in OmegaConf.to_container(config.artifacts).items() if path != "???"}


def test_the_whole_method_runs_and_a_sweep_shares_its_stages(run: Run) -> None:
    folder = run()
    assert np.isfinite(json.loads((folder / "metrics.json").read_text())["test/full/ndcg@10"])
    metrics = pl.read_csv(folder / "metrics.csv")
    assert metrics["train/loss/teacher_alignment"].drop_nulls().is_between(0, 10).all()
    heard = metrics["train/grad_share/teacher_alignment"].drop_nulls()
    assert heard[0] > 0.1  # a thirtieth of it at the published weight
    made = artifacts(folder)
    teacher = np.load(Path(made["plain"]) / "item_table.npy")
    text = np.load(Path(made["intermediate"]) / "table.npy")
    assert teacher.shape == (len(text), 8)
    assert text.shape[1] == 16
    weights = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    assert not any(name.endswith((".text", ".table")) for name in weights)  # frozen text and teacher are not stored

    assert artifacts(run("loss.alpha=0.1")) == made


def trained(folder: Path) -> dict[str, torch.Tensor]:
    assert np.isfinite(json.loads((folder / "metrics.json").read_text())["test/full/ndcg@10"])
    return torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]


def test_without_scft_the_encoder_is_used_as_it_comes(run: Run) -> None:
    folder = run("without=llmemb/scft")
    trained(folder)
    made = artifacts(folder)
    assert json.loads((Path(made["scft"]) / "scft.json").read_text())["losses"] == []
    tuned = artifacts(run())
    assert made["plain"] == tuned["plain"]
    texts = [np.load(Path(one["embed"]) / "table.npy") for one in (made, tuned)]
    assert not np.allclose(*texts, atol=1e-3)


def test_without_adapter_the_components_are_the_vectors(run: Run) -> None:
    folder = run("without=llmemb/adapter")
    assert not [name for name in trained(folder) if name.startswith("item_encoder.adapter")]
    assert np.load(Path(artifacts(folder)["intermediate"]) / "table.npy").shape[1] == 8


def test_without_freeze_the_text_vectors_are_trained(run: Run) -> None:
    folder = run("without=llmemb/freeze")
    text = np.load(Path(artifacts(folder)["intermediate"]) / "table.npy")
    assert not np.allclose(trained(folder)["item_encoder.text.table"][1:-1], text[1:-1])


def test_without_teacher_no_plain_run_is_made(run: Run) -> None:
    folder = run("without=llmemb/teacher")
    trained(folder)
    assert "plain" not in artifacts(folder)
    assert "train/loss/teacher_alignment" not in pl.read_csv(folder / "metrics.csv").columns


def test_an_adapter_from_another_project_is_used_where_none_was_tuned(run: Run, tmp_path: Path) -> None:
    """Its folder is elsewhere and nothing else came along."""
    first = artifacts(run())
    given, outputs = shutil.copytree(first["scft"], tmp_path / "given"), tmp_path / "outputs"
    made = artifacts(run(f"steps.embed.adapter={given}", f"paths.outputs={outputs}", "without=llmemb/teacher"))
    assert "scft" not in made
    assert not (outputs / "artifacts" / "scft").exists()
    before, after = (np.load(Path(one["embed"]) / "table.npy") for one in (first, made))
    np.testing.assert_array_equal(after, before)


def test_an_artifact_given_by_hand_is_refused(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(f"artifacts.scft={tmp_path}")
    said = capsys.readouterr().out
    assert f"artifacts.scft={tmp_path} cannot be set" in said
    assert "embedder=scft steps.embed.adapter=FOLDER" in said


def test_the_prompt_has_an_instruction_and_every_attribute_its_name(small_settings: list[str]) -> None:
    settings = [entry for entry in small_settings if "embed" not in entry]
    steps = planned(*settings, "method=llmemb").config.steps
    assert steps.scft.instruction == "The item has the following attributes:"
    assert dict(steps.scft.labels) == dict(steps.texts.labels) == {"title": "title"}
    assert planned(*settings, "method=llmemb", "steps.scft.instruction=null").config.steps.scft.instruction is None
    pantry = planned("dataset=pantry", "method=llmemb").config
    assert pantry.steps.scft.instruction == "The grocery item has the following attributes:"
    assert (pantry.dim, pantry.loss.alpha) == (128, 0.3)


@pytest.mark.slow
def test_the_published_form_runs_with_all_of_its_quirks(run: Run) -> None:
    folder = run("experiment=reference_llmemb", "dataset.ts_item=3")
    text = np.load(Path(artifacts(folder)["embed"]) / "table.npy")[1:-1]
    assert not np.allclose(np.linalg.norm(text, axis=1), 1, atol=0.01)  # vectors as pooled
    heard = pl.read_csv(folder / "metrics.csv")["train/grad_share/teacher_alignment"].drop_nulls()
    assert heard[0] < 0.1  # soft targets of weight 0.01
    assert trained(folder)
