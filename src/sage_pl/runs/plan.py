"""From a configuration to a plan: every check is made here, and nothing is edited afterwards."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from hydra.utils import get_class, get_object
from omegaconf import DictConfig, OmegaConf, flag_override
from omegaconf.errors import (
    InterpolationKeyError,
    InterpolationResolutionError,
    OmegaConfBaseException,
    UnsupportedInterpolationType,
)

from sage_pl import hardware
from sage_pl.artifacts.building import closure
from sage_pl.artifacts.identity import flat
from sage_pl.artifacts.store import Artifact
from sage_pl.evaluation.groups import Groups
from sage_pl.nn.modules.step import DISTINCT
from sage_pl.runs import checks, trainers
from sage_pl.runs.checks import ConfigError
from sage_pl.runs.choices import check_without, parts_of, plain_choices
from sage_pl.runs.construct import construct
from sage_pl.runs.idle_parts import drop_idle_parts, editable
from sage_pl.runs.numbers import hints, number_problems, setting_problems
from sage_pl.training.callbacks.ranking_evaluation import RankingEvaluation

PARTS = ("model", "data")  # artifacts are prepared for these
BUILT = (*PARTS, "steps", "callbacks", "trainer", "logger")
_GROUPS = ("paths", "dataset", "split", "evaluation", "loss", "data", "model", "trainer")  # none of them may be null
_MAPPINGS = (*_GROUPS, "artifacts", "callbacks", "logger", "stages", "start", "steps")
_LOADED = frozenset({"items", "user"})  # batch keys that need no extra
_FILES = frozenset({"path", "reviews", "metadata", "businesses", "adapter", "model"})  # keys that may name a file
_PENDING = re.compile(r"<artifact:(\w+)>")


@dataclass(frozen=True)
class Plan:
    """A run that passed every check.

    Args:
        recipe: what a checkpoint carries: plain values, references unresolved.
        config: the recipe without its idle parts; read-only.
        stages: plans of the runs that this one builds upon, by name; only those whose artifact is read.
        artifacts: names of the artifacts that model and data refer to.
        steps: names of the steps and stages that make these, parents first.
        dropped: what was left out of ``config``, for one log line each.
    """

    recipe: Mapping[str, Any]
    config: DictConfig
    stages: Mapping[str, Plan]
    artifacts: tuple[str, ...]
    steps: tuple[str, ...]
    dropped: tuple[str, ...]


def recipe_of(config: DictConfig) -> dict[str, Any]:
    """A composed configuration as plain values: paths absolute, ``choices`` and ``products`` as they are on this machine."""
    recipe: Any = OmegaConf.to_container(config, resolve=False)
    recipe.pop("allow_host", None)  # of one command, never of a recipe
    default: Any = None if "choices" in recipe else {}  # of a whole configuration, none may be left out either
    if absent := [name for name in _GROUPS if recipe.get(name, default) is None]:
        raise ConfigError(f"{', '.join(absent)} is null, and no run is without it; leave that setting out")
    checks.refuse(
        f"{name} is {value!r}, wanted keys with values; leave that setting out"
        for name, value in recipe.items()
        if name in _MAPPINGS and not isinstance(value, dict | None)
    )
    recipe |= {name: recipe.get(name) or {} for name in ("callbacks", "logger")}
    recipe["paths"] = _absolute(config)
    for node in (recipe["dataset"], recipe["dataset"].get("source"), *recipe["steps"].values()):
        for key in _FILES & set(node if isinstance(node, dict) else ()):
            if isinstance(node[key], str) and (Path(node[key]).exists() or "*" in node[key]):  # one, or a pattern
                node[key] = str(Path(node[key]).resolve())
    if "choices" in recipe:
        recipe["choices"] = plain_choices(config)
    if recipe.get("products") == "auto":
        recipe["products"] = hardware.fast_products(str(config.trainer.accelerator))
    return recipe


def _absolute(config: DictConfig) -> dict[str, str]:
    try:
        paths: Any = OmegaConf.to_container(config.paths, resolve=True)
    except InterpolationResolutionError as error:
        raise _unreadable(error) from error
    checks.refuse(f"paths.{name} is {place!r}, wanted a folder" for name, place in paths.items() if not _is_text(place))
    return {name: str(Path(place).resolve()) for name, place in paths.items()}


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _unreadable(error: OmegaConfBaseException) -> ConfigError:
    """An error for a reference that no value comes of, such as that of an absent environment variable."""
    reason = str(error.msg or error).partition("\n")[0].removeprefix("KeyError raised while resolving interpolation: ")
    return ConfigError(f"{error.full_key} cannot be read: {reason}; set it to a value")


def make_plan(
    recipe: Mapping[str, Any], begun_with: Mapping[str, Any] | None = None, wanted: Iterable[str] | None = None
) -> Plan:
    """Check a recipe and plan its run; touches no file.

    Args:
        recipe: plain values, references unresolved. Without ``steps``, its artifacts are finished already.
        begun_with: the recipe whose stages are built upon, where it is another: that of a run which is continued.
        wanted: names of the artifacts to prepare; None for those that model and data refer to.

    Raises:
        ConfigError: listing every problem.
    """
    choices: Any = recipe.get("choices") or {}
    if problem := check_without(choices, parts_of(choices.get("method"))):
        raise ConfigError(problem)  # else its consequences would hide it
    checks.refuse([*checks.node_problems(recipe), *checks.node_problems(begun_with or {})])
    problems: list[str] = []
    plans = _plans_of_stages(begun_with or recipe, problems)
    config, dropped, plain = _checked(recipe, problems)
    artifacts = artifacts_of({part: plain[part] for part in PARTS}) if wanted is None else tuple(wanted)
    inputs = {name: inputs_of(name, node) for name, node in plain["steps"].items()}
    inputs |= {name: ("sequences", *plan.artifacts) for name, plan in plans.items()}
    steps = tuple(closure(inputs, ["sequences", *artifacts])) if inputs else ()
    checks.refuse(checks.missing_values(recipe, *(f"steps.{name}" for name in steps)))
    unread = [f"stages.{name}" for name in plans if name not in steps]
    config.stages = {name: node for name, node in (config.get("stages") or {}).items() if name in steps}
    OmegaConf.set_readonly(config, True)
    used = {name: plan for name, plan in plans.items() if name in steps}
    return Plan(recipe, config, used, artifacts, steps, (*dropped, *unread))


def _plans_of_stages(recipe: Mapping[str, Any], problems: list[str]) -> dict[str, Plan]:
    """A plan for each of the recipe's stages; what is wrong with them is added to ``problems``.

    Their steps belong to the run's plan, where the stages are steps themselves.
    """
    plans = {}
    for name in recipe.get("stages") or {}:
        try:
            stage = stage_recipe(recipe, str(name))
            config, dropped, plain = _checked(stage, [])
        except ConfigError as error:
            problems += error.problems
        else:
            OmegaConf.set_readonly(config, True)
            artifacts = artifacts_of({part: plain[part] for part in PARTS})
            plans[str(name)] = Plan(stage, config, {}, artifacts, (), dropped)
    return plans


def _checked(recipe: Mapping[str, Any], problems: list[str]) -> tuple[DictConfig, tuple[str, ...], dict[str, Any]]:
    """A recipe's configuration without idle parts, what was dropped, and what is built as plain values.

    Raises:
        ConfigError: listing ``problems`` and those of this recipe.
    """
    problems = [*checks.given_artifacts(recipe), *checks.missing_values(recipe, "dataset"), *problems]
    try:
        config, dropped = drop_idle_parts(OmegaConf.create(dict(recipe)))
        plain = resolve_with_placeholders(config, [part for part in BUILT if part in config])
    except ConfigError as error:
        checks.refuse([*problems, *error.problems])
        raise
    checks.refuse(
        [
            *problems,
            *checks.target_problems(plain),
            *checks.unresolved_texts(plain, ""),
            *trainers.device_problems(plain),
        ]
    )
    numbers = _number_problems(config, plain)
    checks.refuse(numbers, {(part,) for part in numbers.values()})
    _check_batch_keys(plain)
    return config, dropped, plain


def _number_problems(config: DictConfig, plain: Mapping[str, Any]) -> dict[str, str]:
    """A line for every number out of range, of the parts and of the evaluation, and the path of the part."""
    names = ["evaluation"] if "evaluation" in config else []
    evaluation: Any = resolve_with_placeholders(config, names).get("evaluation", {})
    groups = evaluation.get("groups", {})
    if not isinstance(groups, Mapping):
        return {f"evaluation.groups is {groups!r}, wanted the rules of groups (evaluation=default)": "evaluation"}
    rules = hints(Groups)
    of_evaluation = [
        *setting_problems(hints(RankingEvaluation), evaluation, "evaluation"),
        *setting_problems(rules, groups, "evaluation.groups"),
        *(f"evaluation.groups.{name} is no rule of groups; leave it out" for name in groups if name not in rules),
    ]
    of_parts = number_problems(plain, cast(dict[str, Any], OmegaConf.to_container(config, resolve=False)))
    return of_parts | dict.fromkeys(of_evaluation, "evaluation")


def stage_recipe(recipe: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The recipe with the parts of ``stages.<name>`` in place of the run's own.

    A stage has the loss terms, warm starts and scorer that it names and no others. What names a ``_target_`` replaces the
    run's part as a whole; other values are merged into it.
    """
    base = {**recipe, "loss": {**recipe["loss"], "terms": {}}, "start": {}, "scorer": None}
    stage = _overlaid(base, recipe["stages"][name])
    stage |= {"stages": {}, "role": name}
    stage["callbacks"] = {key: node for key, node in stage["callbacks"].items() if key != "pruning"}
    return stage


def _overlaid(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, node in over.items():
        both = isinstance(node, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _overlaid(merged[key], node) if both and "_target_" not in node else node
    return merged


def resolve_with_placeholders(config: DictConfig, parts: Iterable[str]) -> dict[str, Any]:
    """The given top-level parts as plain values; placeholders stand for what preparation fills in and for missing values.

    Raises:
        ConfigError: a part refers to something that the configuration does not have.
    """
    trial = editable(config)
    trial.artifacts = {name: f"<artifact:{name}>" for name in trial.artifacts}
    trial.catalog = {"n_users": 1, "n_items": 1}
    for key, value in flat(OmegaConf.to_container(trial, resolve=False)):
        if value == "???":
            OmegaConf.update(trial, key, f"<{key}>")
    try:
        return {part: _plain(trial[part]) for part in parts}
    except InterpolationKeyError as error:
        absent = str(error.msg or error).partition("'")[2].partition("'")[0]
        raise ConfigError(
            f"{error.full_key} refers to ${{{absent}}}, which this configuration does not have; choose what brings it, or set "
            f"{error.full_key} to a value"
        ) from error
    except (InterpolationResolutionError, UnsupportedInterpolationType) as error:
        raise _unreadable(error) from error


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def artifacts_of(parts: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the artifacts that parts refer to, as :func:`resolve_with_placeholders` gives them."""
    return tuple(sorted(set(_PENDING.findall(str(parts)))))


def fill_in_artifacts(
    config: DictConfig, artifacts: Mapping[str, Artifact], run_dir: str | None = None, resume: str | None = None
) -> DictConfig:
    """A read-only copy with the paths of finished artifacts and the catalogue's sizes where parts refer to them.

    Args:
        config: a plan's.
        artifacts: finished, ``sequences`` among them.
        run_dir, resume: of a stage, whose folder is its own.
    """
    filled = config.copy()
    with flag_override(filled, ["readonly", "struct"], [False, False]):
        for name, artifact in artifacts.items():
            filled.artifacts[name] = str(Path(artifact.path).resolve())
        sequences = artifacts["sequences"]
        filled.catalog.n_items = sequences.height("items")
        filled.catalog.n_users = len(sequences.array("train_end")) - 1
        if run_dir is not None:
            filled.run_dir, filled.resume = run_dir, resume
    return filled


def filled_artifacts(config: DictConfig) -> dict[str, str]:
    """The paths that :func:`fill_in_artifacts` entered, by name."""
    paths: Any = OmegaConf.to_container(config.artifacts)
    return {name: path for name, path in paths.items() if path != "???"}


def _check_batch_keys(plain: Mapping[str, Any]) -> None:
    """What the loss terms read from a batch must be loaded with it."""
    terms, extras = plain["model"].get("terms") or {}, plain["data"].get("extras") or {}
    needs = frozenset[str]().union(*(get_object(term["_target_"]).needs for term in terms.values()))
    loaded = _LOADED.union(*(get_object(extra["_target_"]).provides for extra in extras.values()))
    checks.check_needs(needs - DISTINCT.keys(), loaded)


def inputs_of(name: str, node: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the steps a step reads. Where ``inputs`` is a property, the step is instantiated to evaluate it."""
    step: Any = get_class(node["_target_"])
    return step.inputs if isinstance(step.inputs, tuple) else construct(f"steps.{name}", node).inputs
