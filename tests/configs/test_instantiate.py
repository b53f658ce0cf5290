"""Every file in conf/ is built, over the prepared small world: model, data, steps, callbacks, trainer and logger."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
from hydra.utils import instantiate
from omegaconf import DictConfig
from pytorch_lightning.loggers import Logger

from sage_pl.artifacts.store import Step
from sage_pl.data.datamodule import SequenceDataModule
from sage_pl.nn.modules.sequential import SequentialRecommender
from sage_pl.runs.checks import check_needs, nodes
from sage_pl.runs.idle_parts import drop_idle_parts
from tests.configs.composing import ALSO, CONF, PARTS, SOMEWHERE, choices, composed, resolved
from tests.planned import planned, prepared

STEPS = ["candidates", "embed", "reduce", "cluster", "retrieve"]
PACKAGES = {"logger=wandb": "wandb", "logger=tensorboard": "tensorboard"}  # built only where they are installed
FITTING = ("item_encoder", "sequence_encoder")  # groups whose choices go with some of each other only

Build = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def world(small_settings: list[str]) -> DictConfig:
    """The small world, prepared: real paths and sizes."""
    return prepared(planned(*small_settings, wanted=STEPS))


@pytest.fixture
def build(world: DictConfig, tmp_path: Path) -> Build:
    """All parts of a composition, built over the small world. Constructors only: no step runs, no model is fetched."""

    def make(*overrides: str, whole: bool = True) -> dict[str, Any]:
        config, _ = drop_idle_parts(composed(*overrides))
        config.dim, config.data.max_len, config.data.batch_size = 8, 8, 16
        known = {name: world.artifacts[name] for name in ("sequences", *STEPS)}
        output = str(tmp_path / "run")
        plain = resolved(config, *PARTS, "alone", artifacts=known, catalog=world.catalog, output_dir=output)
        many = {"steps", "callbacks", "alone"} if whole else {"steps", "callbacks", "alone", "model"}
        return {part: built(node, apart=part in many) for part, node in plain.items()}

    return make


def built(node: Any, apart: bool = False) -> Any:
    """The object a node names; where it is a mapping of them, or waits for an artifact, those of its children."""
    if "_target_" in node and not apart and not waits(node):
        return instantiate(node, _convert_="all")
    return {name: built(child) for name, child in node.items() if isinstance(child, dict)}


def waits(node: Any) -> bool:
    """Whether a part would open an artifact that this test has not made; steps, sources and callbacks open nothing yet."""
    lazy = ("sage_pl.semantic.", "sage_pl.data.sources.", "sage_pl.reference.", "sage_pl.training.callbacks.")
    parts = [child for _, child in nodes(node) if not child["_target_"].startswith(lazy)]
    values = [value for part in parts for value in part.values()]
    values += [
        path for value in values if isinstance(value, dict) and "_target_" not in value for path in value.values()
    ]
    return SOMEWHERE in values


def companions(choice: str) -> list[str]:
    """A method that is made of the choice, if there is one."""
    group, _, name = choice.partition("=")
    made_of = f"override /{group}: {name}\n"
    return [f"method={path.stem}" for path in sorted((CONF / "method").glob("*.yaml")) if made_of in path.read_text()]


@pytest.mark.slow
@pytest.mark.parametrize("choice", choices())
def test_every_choice_is_built(choice: str, build: Build) -> None:
    if (package := PACKAGES.get(choice)) and importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    if choice.startswith(FITTING):
        method = companions(choice)[:1]
        parts = build(*method, choice, whole=bool(method))
    else:
        parts = build(*ALSO.get(choice, []), choice)
    assert all(isinstance(step, Step) for step in parts["steps"].values())
    assert parts["steps"].keys() >= {"sequences", *STEPS}
    assert all(isinstance(logger, Logger) for logger in parts["logger"].values())
    assert isinstance(parts["trainer"], pl.Trainer)
    assert all(isinstance(callback, pl.Callback) for callback in parts["callbacks"].values())
    model, data = parts["model"], parts["data"]
    if isinstance(model, SequentialRecommender):
        check_needs(model.needs, data.provides)
    else:
        assert model["optimizer"].func is not None


@pytest.mark.parametrize("method", ["plain", "sage"])
def test_nothing_is_left_out_of_a_method_that_follows_no_other_run(method: str, build: Build) -> None:
    parts = build(f"method={method}")
    assert isinstance(parts["model"], SequentialRecommender)
    assert isinstance(parts["data"], SequenceDataModule)
    assert isinstance(parts["steps"]["cluster"], Step)


def test_what_another_run_must_make_first_is_left_out() -> None:
    id_only = {"_target_": "sage_pl.nn.item_encoders.id.IdEncoder", "n_items": 4, "dim": 2, "init": None}
    waiting = {**id_only, "init": SOMEWHERE}
    assert (waits(id_only), waits(waiting), waits({"experts": {"id": waiting}})) == (False, True, True)
    found = built({"_target_": "torch.nn.Sequential", "ready": id_only, "late": waiting})
    assert found["ready"].n_items == 4
    assert found["late"] == {}
