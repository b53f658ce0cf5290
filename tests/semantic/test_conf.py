"""The choices of conf/semantic and conf/embedder build the steps they name, with the defaults they have in code."""

from dataclasses import fields
from pathlib import Path

import pytest
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from sage_pl.semantic.embedders.sentence import SentenceEmbedder
from sage_pl.semantic.profile import PromptProfile

CONF = Path(__file__).parents[2] / "conf"
EMBEDDERS = sorted((CONF / "embedder").glob("*.yaml"))
CHOSEN = {
    "dataset": {
        "prompt": ["title"],
        "cluster": {"n_neighbors": 30, "n_components": 8, "min_cluster_size": 20, "min_samples": 10},
    },
    "loss": {"fuzzy_m": 2.0},
    "dim": 64,
}


def semantic() -> DictConfig:
    return OmegaConf.create({**CHOSEN, "steps": OmegaConf.load(CONF / "semantic" / "default.yaml")})


@pytest.mark.parametrize("name", ["texts", "reduce", "cluster", "profile", "retrieve"])
def test_every_step_is_built_under_its_own_name(name) -> None:
    step = instantiate(semantic().steps[name])
    assert step.name == name
    given = {"columns": ("title",)} if name == "texts" else {}
    assert step == type(step)(**given)


@pytest.mark.parametrize("file", EMBEDDERS, ids=lambda file: file.stem)
def test_every_embedder_is_built(file) -> None:
    config = OmegaConf.load(file)
    if not file.read_text().startswith("# @package steps.embed\n"):  # it brings a stage
        assert file.read_text().startswith("# @package _global_\n")
        config = config.steps.embed
    required = [key for key in config if OmegaConf.is_missing(config, key)]
    given = dict.fromkeys(required, "x")
    step = instantiate(OmegaConf.merge(config, given))
    assert step.name == "embed"
    known = {key: config[key] for key in config if key not in required}
    parts = {key: getattr(step, key) for key, node in known.items() if OmegaConf.is_dict(node) and "_target_" in node}
    assert step == type(step)(**given, **parts)
    assert set(config) - {"_target_"} == {field.name for field in fields(step)}


def test_a_profile_may_use_the_embedder() -> None:
    config = semantic()
    config.steps.embed = OmegaConf.load(CONF / "embedder" / "minilm.yaml")
    config.steps.profile._target_ = "sage_pl.semantic.profile.PromptProfile"
    config.steps.profile.encoder = "${steps.embed}"
    assert instantiate(config.steps.profile) == PromptProfile(SentenceEmbedder())
