"""A file that is no checkpoint is one sentence, and one that is writes and sends nothing by itself."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from sage_pl.errors import SettingError, UserError
from sage_pl.runs import checkpoint
from sage_pl.runs.checks import ConfigError, target_problems
from tests.campaign import payloads

FILES = Path(__file__).parent / "earlier_version"
CONTENT: dict[str, Any] = torch.load(FILES / "best.ckpt", weights_only=True)
RECIPE = CONTENT["sage_pl"]["config"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(FILES, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def use(file: Path) -> None:
    """What evaluate, recommend and export do first."""
    opened = checkpoint.open_checkpoint(file)
    checkpoint.trained(checkpoint.prepared(opened, {}), opened)


@pytest.mark.parametrize("name", payloads.checkpoints(CONTENT))
def test_a_foreign_file_is_one_sentence(folder: Path, name: str) -> None:
    file = folder / "foreign.ckpt"
    payloads.checkpoints(CONTENT)[name](file)
    with pytest.raises(UserError) as caught:
        use(file)
    assert str(file) in str(caught.value) or "weights do not fit" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize("recipe", payloads.recipes(RECIPE).values(), ids=payloads.recipes(RECIPE))
def test_a_recipe_of_other_kinds_is_a_sentence(folder: Path, recipe: dict[str, Any]) -> None:
    torch.save({**CONTENT, "sage_pl": {**CONTENT["sage_pl"], "config": recipe}}, folder / "foreign.ckpt")
    with contextlib.suppress(UserError):
        use(folder / "foreign.ckpt")


@pytest.mark.parametrize("node", payloads.classes(Path("canary")).values(), ids=payloads.classes(Path("canary")))
def test_a_model_is_made_of_parts_of_models(folder: Path, node: dict[str, Any]) -> None:
    recipe = {**RECIPE, "model": {**RECIPE["model"], "targets": node}}
    torch.save({**CONTENT, "sage_pl": {**CONTENT["sage_pl"], "config": recipe}}, folder / "foreign.ckpt")
    with pytest.raises(ConfigError):
        use(folder / "foreign.ckpt")
    assert not Path("canary").exists()


@pytest.mark.parametrize(
    ("section", "target"),
    [
        ("model", "sage_pl.training.loggers.wandb_run.WandbRun"),
        ("data", "torch.nn.Linear"),
        ("callbacks", "sage_pl.nn.backbones.sasrec.SASRec"),
        ("logger", "pytorch_lightning.callbacks.ModelCheckpoint"),
        ("steps", "sage_pl.semantic.language_models.answers.Answers"),
        ("steps", "sage_pl.artifacts.store.Store"),
        ("steps", "torchmetrics.text.BERTScore"),
    ],
)
def test_each_section_has_its_own_parts(section: str, target: str) -> None:
    (line,) = target_problems({section: {"part": {"_target_": target, "_partial_": True}}})
    assert "allowed are names" in line or "is no part of a run" in line


def test_a_compressed_archive_is_refused(folder: Path) -> None:
    import zipfile

    with zipfile.ZipFile(folder / "best.ckpt") as old, zipfile.ZipFile("small.ckpt", "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
    with pytest.raises(SettingError, match="is compressed"):
        checkpoint.open_checkpoint("small.ckpt")
