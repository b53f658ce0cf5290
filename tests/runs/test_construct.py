"""Nothing is resolved after the check, and a stored configuration calls no resolver."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from sage_pl import serving
from sage_pl.commands.door import config_dir
from sage_pl.runs.checkpoint import model_of, open_checkpoint, plan_of
from sage_pl.runs.checks import ConfigError, texts, unresolved_texts
from sage_pl.runs.construct import construct, foreign_resolvers
from sage_pl.runs.resuming import continued

CALL = "${oc.create:{_target_: os.system, command: x}}"
PAYLOADS = [
    CALL,
    "${oc.create:'{_target_: joblib.load, filename: x}'}",
    "a${oc.env:HOME}b",
    "${oc.env:HOME,${x}}",
    "${ oc.env : HOME }",
    "${oc.decode:${x}}",
    "${oc.${x}:HOME}",
    "${${x}:HOME}",
    "${oc.deprecated:x}",
    "${oc.dict.values:x}",
    "${custom:1}",
    "${oc.select:x,${oc.env:HOME}}",
]


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize(
    "place", [lambda p: {"a": p}, lambda p: {"a": {"b": [1, [p]]}}, lambda p: {p: 1}], ids=["value", "list", "key"]
)
def test_a_text_that_holds_a_reference_builds_nothing(payload: str, place: Any) -> None:
    node = {"_target_": "sage_pl.data.split.GlobalTime", "_partial_": True, **place(payload)}
    with pytest.raises(ConfigError, match=r"a reference that was not resolved|unexpected keyword"):
        construct("split", node)
    assert unresolved_texts(place(payload), "")
    assert foreign_resolvers(place(payload))


def test_an_escaped_reference_is_refused_after_it_was_resolved_once() -> None:
    config = OmegaConf.create({"valid": "\\" + CALL})
    plain: Any = OmegaConf.to_container(config, resolve=True)
    assert plain["valid"] == CALL
    with pytest.raises(ConfigError, match=r"split\.valid holds"):
        construct("split", {"_target_": "sage_pl.data.split.GlobalTime", **plain})


def test_every_reference_of_the_projects_configuration_is_known() -> None:
    for file in sorted(config_dir().rglob("*.yaml")):
        content = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
        assert not foreign_resolvers({"file": content}), file


@pytest.fixture
def poisoned(tmp_path: Path) -> Path:
    """A checkpoint whose recipe reads the environment."""
    file = tmp_path / "poisoned.ckpt"
    stored = {"config": {"dropout": "${oc.env:SECRET}", "loss": {"terms": {}}}, "artifact_keys": {}}
    torch.save({"sage_pl": stored, "state_dict": {}}, file)
    return file


def test_a_checkpoint_that_reads_the_environment_is_refused(poisoned: Path) -> None:
    checkpoint = open_checkpoint(poisoned)
    with pytest.raises(ConfigError, match=r"dropout holds '\$\{oc\.env:SECRET\}', and a stored configuration must not"):
        plan_of(checkpoint, {})
    with pytest.raises(ConfigError, match="must not call resolvers"):
        continued(checkpoint, {}, [])
    own = {"dropout": "${oc.env:DROPOUT}"}
    assert continued(checkpoint, own, ["dropout=${oc.env:DROPOUT}"])["dropout"] == own["dropout"]


def test_texts_are_found_wherever_they_stand() -> None:
    assert [text for _, text in texts({"a": ["b", {"c": ("d",)}], "e": 1}, "")] == ["a", "b", "c", "d", "e"]


MODEL = {"_target_": "sage_pl.nn.modules.sequential.SequentialRecommender", "sequence_encoder": CALL, "targets": None}


def test_an_exported_folder_calls_nothing(tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text(json.dumps({"name": {}, "_partial_": True, **MODEL}))
    with pytest.raises(ConfigError, match=r"model\.sequence_encoder holds '\$\{oc\.create"):
        serving.load(tmp_path)


def test_the_configuration_of_a_run_folder_calls_nothing() -> None:
    with pytest.raises(ConfigError, match=r"model\.sequence_encoder holds '\$\{oc\.create"):
        model_of({**MODEL, "item_encoder": None}, None)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            ModuleNotFoundError(
                "Neither `tensorboard` nor `tensorboardX` is available. Try `pip install`ing either.\nA"
            ),
            'lacks a package: pip install "sage-pl[tensorboard]"',
        ),
        (
            ModuleNotFoundError("No module named 'optuna'", name="optuna"),
            'lacks a package: pip install "sage-pl[search]"',
        ),
        (
            ModuleNotFoundError("No module named 'x'\nand more", name="x"),
            "lacks a package: No module named 'x' and more",
        ),
    ],
)
def test_a_missing_package_is_one_line_with_the_extra_that_brings_it(
    error: ModuleNotFoundError, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(self: object, *arguments: object, **more: object) -> None:
        raise error

    requirements = ["torch", "tensorboard; extra == 'tensorboard'", 'optuna>=5 ; extra == "search"']
    monkeypatch.setattr("importlib.metadata.requires", lambda name: requirements)
    monkeypatch.setattr("pytorch_lightning.loggers.TensorBoardLogger.__init__", missing)
    with pytest.raises(ConfigError) as problem:
        construct("logger.tensorboard", {"_target_": "pytorch_lightning.loggers.TensorBoardLogger"})
    assert str(problem.value).endswith(message)
    assert "\n" not in str(problem.value)
