"""A plan: what is dropped, what is prepared, every problem at once, and nothing to edit afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ReadonlyConfigError

from sage_pl import hardware
from sage_pl.commands.door import config_dir
from sage_pl.runs.checks import ConfigError
from sage_pl.runs.idle_parts import drop_idle_parts
from sage_pl.runs.plan import (
    Plan,
    artifacts_of,
    make_plan,
    recipe_of,
    resolve_with_placeholders,
)

TERM = "sage_pl.nn.losses"


def artifacts(config: DictConfig, *parts: str) -> tuple[str, ...]:
    return artifacts_of(resolve_with_placeholders(config, parts))


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        return compose("train", overrides=["dataset=folder", "dataset.path=somewhere", "run_dir=x", *overrides])


def planned(*overrides: str) -> Plan:
    return make_plan(recipe_of(composed(*overrides)))


@pytest.fixture
def config() -> DictConfig:
    """A composed configuration in small."""
    return OmegaConf.create(
        {
            "loss": {
                "alpha": 0.1,
                "gamma": 0.5,
                "fuzzy_m": 2,
                "terms": {
                    "distillation": {"_target_": f"{TERM}.distillation.UserDistillation", "weight": "${loss.alpha}"},
                    "prototype": {
                        "_target_": f"{TERM}.prototype.Prototype",
                        "weight": "${loss.gamma}",
                        "clusters": "${artifacts.cluster}",
                    },
                },
            },
            "data": {
                "sequences": "${artifacts.sequences}",
                "extras": {
                    "neighbours": {
                        "_target_": "sage_pl.data.neighbours.Neighbours",
                        "neighbours": "${artifacts.retrieve}",
                    }
                },
            },
            "model": {"n_items": "${catalog.n_items}", "terms": "${loss.terms}"},
            "steps": {"cluster": {"fuzzy_m": "${loss.fuzzy_m}"}},
            "artifacts": {"sequences": "???", "cluster": "???", "retrieve": "???", "embed": "???"},
            "catalog": {"n_users": "???", "n_items": "???"},
        }
    )


def test_nothing_is_dropped_where_all_is_used(config: DictConfig) -> None:
    lean, dropped = drop_idle_parts(config)
    assert dropped == ()
    assert OmegaConf.to_container(lean) == OmegaConf.to_container(config)


def test_terms_of_weight_0_and_what_only_they_need_are_dropped(config: DictConfig) -> None:
    config.loss.alpha = 0
    OmegaConf.set_readonly(config, True)
    lean, dropped = drop_idle_parts(config)
    assert dropped == ("loss.terms.distillation", "data.extras.neighbours")
    assert list(lean.loss.terms) == ["prototype"]
    assert not lean.data.extras
    assert list(config.loss.terms) == ["distillation", "prototype"], "the configuration itself is left alone"


def test_settings_of_an_absent_scorer_have_no_effect() -> None:
    """A part that is left out of a method may set them, and the command line may choose no scorer."""
    lean, dropped = drop_idle_parts(composed("method=sam", "scorer=none", "without=sam/own_interests"))
    assert lean.scorer is None
    assert "scorer.interests" in dropped
    kept, dropped = drop_idle_parts(composed("method=sam", "without=sam/own_interests"))
    assert kept.scorer._target_.endswith("InterestMatch")
    assert "scorer.interests" not in dropped


def test_named_parts_set_to_null_are_dropped(config: DictConfig) -> None:
    config.loss.terms.prototype = None
    config.start = {"items": None, "states": {"_target_": "sage_pl.nn.modules.warm_start.WarmStart"}}
    config.item_encoder = {"experts": {"id": None, "text": {}}}
    lean, dropped = drop_idle_parts(config)
    assert dropped == ("loss.terms.prototype", "start.items", "item_encoder.experts.id")
    assert list(lean.start) == ["states"]
    assert list(lean.item_encoder.experts) == ["text"]


def test_leaving_out_a_term_that_a_method_does_not_have_is_refused(config: DictConfig) -> None:
    config.loss.terms.teacher_alignment = {"weight": 0}
    with pytest.raises(
        ConfigError, match=r"loss\.terms\.teacher_alignment .* no such term; there are: distillation, prototype"
    ):
        drop_idle_parts(config)


def test_an_extra_that_another_term_needs_stays(config: DictConfig) -> None:
    config.loss.gamma = 0.0
    lean, dropped = drop_idle_parts(config)
    assert dropped == ("loss.terms.prototype",)
    assert list(lean.data.extras) == ["neighbours"]


def test_dropping_imports_nothing_that_is_not_allowed(config: DictConfig) -> None:
    config.loss.terms.distillation._target_ = "os.system"
    with pytest.raises(ConfigError, match=r"_target_ is 'os\.system'; allowed are"):
        drop_idle_parts(config)


def test_a_part_that_refers_to_what_is_not_there_is_named(config: DictConfig) -> None:
    config.loss.terms.prototype.clusters = "${artifacts.tokens}"
    with pytest.raises(ConfigError, match=r"loss\.terms\.prototype\.clusters refers to \$\{artifacts\.tokens\}, which"):
        artifacts(config, "model")


def test_artifacts_are_those_the_parts_refer_to(config: DictConfig) -> None:
    assert artifacts(config, "data") == ("retrieve", "sequences")
    assert artifacts(config, "model", "data") == ("cluster", "retrieve", "sequences")
    assert OmegaConf.is_missing(config.artifacts, "cluster"), "the configuration itself is left alone"
    config.loss.gamma = 0
    assert artifacts(drop_idle_parts(config)[0], "model", "data") == ("retrieve", "sequences")


def test_a_plan_cannot_be_edited() -> None:
    plan = planned("method=pad")
    for config in (plan.config, *(stage.config for stage in plan.stages.values())):
        with pytest.raises(ReadonlyConfigError):
            config.dim = 3
        with pytest.raises(ReadonlyConfigError):
            config.model.new = 3
    with pytest.raises(AttributeError):
        plan.config = OmegaConf.create()  # type: ignore[misc]


def test_planning_changes_neither_configuration_nor_recipe_and_makes_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = composed("method=pad")
    before = OmegaConf.to_container(config)
    recipe = recipe_of(config)
    kept: Any = OmegaConf.to_container(OmegaConf.create(recipe))
    make_plan(recipe)
    assert OmegaConf.to_container(config) == before
    assert recipe == kept
    assert not list(tmp_path.iterdir())


def test_every_problem_is_in_one_error() -> None:
    wrong = [
        "dataset.path=???",
        "artifacts.reduce=x",
        "backbone.heads=2",
        "+backbone.no_such=1",
        "trainer._target_=os.system",
    ]
    with pytest.raises(ConfigError) as caught:
        planned("method=sage", *wrong)
    message = str(caught.value)
    for part in ("please set dataset.path=...", "artifacts.reduce=x cannot be set", "no_such", "os.system"):
        assert part in message, message


def test_problems_of_a_stage_are_listed_too() -> None:
    with pytest.raises(ConfigError, match="no_such"):
        planned("method=pad", "+stages.align.optimizer.no_such=1")


def test_terms_without_what_they_read_are_refused_before_anything_is_prepared() -> None:
    with pytest.raises(ConfigError, match=r"the losses read neighbour_items, neighbours, \w+ from a batch"):
        planned("method=llm_esr", "~data.extras.neighbours")


def test_steps_are_those_needed_parents_first() -> None:
    steps = planned("method=sage").steps
    assert steps[0] == "sequences"
    assert set(steps) == {*("sequences", "candidates", "texts", "embed", "reduce", "cluster", "profile", "retrieve")}
    assert steps.index("embed") < steps.index("reduce")
    assert set(planned("method=plain").steps) == {"sequences", "candidates"}


def test_a_stage_that_no_part_reads_is_dropped_with_its_steps() -> None:
    plan = planned("method=llmemb", "loss.terms.teacher_alignment.weight=0")
    assert "stages.plain" in plan.dropped
    assert not plan.stages
    assert "plain" not in plan.steps


@pytest.mark.parametrize(("fast", "products"), [(True, "bfloat16"), (False, "float32")])
def test_products_follow_the_processor(monkeypatch: pytest.MonkeyPatch, fast: bool, products: str) -> None:
    monkeypatch.setattr(hardware, "multiplies_bfloat16", lambda device: fast)
    assert planned("method=plain", "products=auto").config.products == products
    assert planned("method=plain", "products=float32").config.products == "float32"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ("method=plain +data.extras.foo=1", "data.extras.foo is no part"),
        ("method=plain +steps.foo.bar=1", "steps.foo is no part"),
        ("method=plain +start.foo=1", "start.foo is no part"),
        ("method=plain +callbacks.foo.bar=1", "callbacks.foo is no part"),
        ("method=plain evaluation.groups=3", "evaluation.groups is 3, wanted the rules"),
        ("method=plain +evaluation.groups.foo=1", "evaluation.groups.foo is no rule"),
        ("method=melt stages.plain=3", "stages.plain is 3, wanted the parts"),
        ("method=melt +stages.plain.backbone=gru4rec", r"\+backbone@stages\.plain\.backbone=gru4rec"),
    ],
)
def test_a_part_that_is_no_node_is_one_sentence(overrides: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        planned(*overrides.split())
