"""Every file in conf/ composes, names only what is allowed, and fits the signature it names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from sage_pl.config import check_targets, known_keys, prune, suggest, unused_weights, wanted_artifacts

CONF = Path(__file__).parent.parent.parent / "conf"
CHOICES = [
    f"{path.parent.relative_to(CONF)}={path.stem}"
    for path in sorted(CONF.rglob("*.yaml"))
    if path.parent != CONF and path.parent.name != "term"
]
TERMS = [path.stem for path in sorted((CONF / "loss" / "term").glob("*.yaml"))]


def composed(*overrides: str, name: str = "train") -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(name, overrides=list(overrides), return_hydra_config=True)


def filled(value: Any) -> Any:
    """The same with a stand-in for every mandatory value."""
    if isinstance(value, dict):
        return {key: filled(child) for key, child in value.items()}
    return [filled(child) for child in value] if isinstance(value, list) else "somewhere" if value == "???" else value


def resolved(config: DictConfig, *parts: str) -> dict[str, Any]:
    """The parts as plain values, with stand-ins for what preparation and Hydra fill in at run time."""
    config = config.copy()
    OmegaConf.set_struct(config, False)
    config.catalog = {"n_users": 3, "n_items": 4}
    for name in config.artifacts:
        config.artifacts[name] = "somewhere"
    config.hydra.runtime.output_dir = "somewhere"
    for group in ("dataset", "method", "backbone"):
        config.hydra.runtime.choices.setdefault(group, "x")
    plain: Any = OmegaConf.to_container(config, resolve=False)
    text = OmegaConf.create(filled({key: value for key, value in plain.items() if key != "hydra"}))
    OmegaConf.clear_resolver("hydra")
    OmegaConf.register_new_resolver("hydra", lambda key: OmegaConf.select(config.hydra, key, default="x"), replace=True)
    return {part: OmegaConf.to_container(text[part], resolve=True) for part in parts}


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_composes_and_binds(choice: str) -> None:
    config = composed(choice)
    check_targets(resolved(config, "model", "data", "steps", "callbacks", "trainer", "logger"))


@pytest.mark.parametrize("name", ["train", "prepare", "evaluate"])
def test_the_commands_compose(name: str) -> None:
    assert composed(name=name)


@pytest.mark.parametrize("term", TERMS)
def test_every_term_can_be_added_to_any_method(term: str) -> None:
    config = composed("method=plain", f"+loss/term@loss.terms.extra={term}")
    check_targets(resolved(config, "model"))
    assert (
        config.loss.terms.extra.weight
        == config.loss[{"distillation": "alpha", "alignment": "beta", "prototype": "gamma"}[term]]
    )


@pytest.mark.parametrize(
    ("overrides", "targets"),
    [
        (["backbone=sasrec"], "NextItem"),
        (["backbone=bert4rec"], "Cloze"),
        (["backbone=gru4rec"], "NextItem"),
        (["backbone=gru4rec", "targets=last_item"], "LastItem"),
        (["backbone=bert4rec", "targets=next_item"], "NextItem"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)
def test_the_backbone_chooses_its_targets_and_the_command_line_wins(overrides: list[str], targets: str) -> None:
    assert composed(*overrides).targets._target_.endswith(targets)


def test_the_public_contract() -> None:
    config = composed("method=sage")
    assert (config.loss.alpha, config.loss.beta, config.loss.gamma, config.loss.fuzzy_m) == (0.1, 0.1, 0.05, 2)
    assert config.loss.user_sim_func == "kd"
    assert config.freeze is True
    assert config.paths.data == "data"
    for key in ("paths.outputs", "seed", "trainer.max_epochs", "data.batch_size", "data.max_len", "ts_user", "ts_item"):
        assert OmegaConf.select(config, key) is not None, key
    for group in ("dataset", "method", "backbone", "loss", "objective", "embedder"):
        assert (CONF / group).is_dir(), group
    for group in ("evaluation", "trainer", "logger", "experiment", "debug"):
        assert (CONF / group).is_dir(), group


def test_what_is_prepared_follows_from_what_is_used() -> None:
    plain, sage, light = composed("method=plain"), composed("method=sage"), composed("method=sage", "loss.alpha=0")
    for config in (plain, sage, light):
        prune(config)
    assert wanted_artifacts(plain, ("model", "data")) == ["candidates", "sequences"]
    assert wanted_artifacts(sage, ("model", "data")) == [
        "candidates",
        "cluster",
        "embed",
        "reduce",
        "retrieve",
        "sequences",
    ]
    assert "retrieve" not in wanted_artifacts(light, ("model", "data"))
    assert unused_weights(plain) == ["alpha", "beta", "gamma", "user_sim_func"]
    assert unused_weights(sage) == []


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("loss.gama", "loss.gamma"),
        ("backbon", "backbone"),
        ("trainer.max_epoch", "trainer.max_epochs"),
        ("gamma", "loss.gamma"),
    ],
)
def test_a_mistyped_key_is_recognised(typed: str, meant: str) -> None:
    groups = [path.name for path in CONF.iterdir() if path.is_dir()]
    assert meant in suggest(typed, known_keys(composed()) + groups)
