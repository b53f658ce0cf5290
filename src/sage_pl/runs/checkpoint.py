"""Opening a checkpoint: what it was trained with, a plan to use it again, and the trained model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sage_pl.artifacts.building import closure
from sage_pl.artifacts.identity import value_at
from sage_pl.artifacts.plain import check_size
from sage_pl.artifacts.renamed import current
from sage_pl.artifacts.store import Artifact, ArtifactError, Store
from sage_pl.artifacts.weights import read_weights
from sage_pl.data.mapped import Ids
from sage_pl.errors import MissingFileError, UserError
from sage_pl.nn.modules.base import RecommenderModule
from sage_pl.runs import checks
from sage_pl.runs.checks import ConfigError, check_weights
from sage_pl.runs.construct import construct, foreign_resolvers, stored
from sage_pl.runs.idle_parts import drop_idle_parts
from sage_pl.runs.parts import Parts, build_parts
from sage_pl.runs.places import foreign_places
from sage_pl.runs.plan import (
    PARTS,
    Plan,
    artifacts_of,
    fill_in_artifacts,
    inputs_of,
    make_plan,
    resolve_with_placeholders,
)
from sage_pl.runs.reopening import made_again, note_changes
from sage_pl.runs.scoring import SCORER
from sage_pl.runs.trained_ids import read_ids

_TERMS = "term_modules."  # losses' own parameters, which only training needs
_READ = ("dataset", "evaluation", "trainer")  # parts of a recipe that commands read, beside those that are built


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint of this project carries.

    Args:
        path: the file.
        recipe: of the run that wrote it.
        begun_with: the recipe of the run's first part; the stages it builds upon follow from this one.
        artifact_keys: of the artifacts it was trained with, by name.
        epochs: that were trained.
        weights: the model's state.
        ids: of the items and users it was trained with, by number; None in a checkpoint of an earlier version.
    """

    path: Path
    recipe: Mapping[str, Any]
    begun_with: Mapping[str, Any]
    artifact_keys: Mapping[str, str]
    epochs: int
    weights: Mapping[str, torch.Tensor]
    ids: Ids | None = None
    packed_ids: Any = None


def open_checkpoint(path: str | Path, mapped: bool = False) -> Checkpoint:
    """Read a checkpoint; classes it names by earlier names are named by their present ones.

    ``mapped``: see :func:`sage_pl.artifacts.weights.read_weights`.

    Raises:
        MissingFileError: there is no such file.
        CheckpointError: the file is damaged.
        ConfigError: the file is not a checkpoint of this project.
    """
    file = Path(path)
    if not file.is_file():
        raise MissingFileError(f"there is no checkpoint {file}; runs keep theirs in outputs/runs/.../checkpoints/")
    content = read_weights(file, mapped=mapped)
    try:
        if not isinstance(content, dict):
            raise ConfigError(f"it holds a {type(content).__name__}")
        carried, weights = content["sage_pl"], content["state_dict"]
        check_size(carried, "sage_pl")
        check_size(list(weights), "state_dict")
        recipe, keys = current(carried["config"]), carried["artifact_keys"]
        begun_with, epochs = current(carried.get("begun_with", carried["config"])), int(content.get("epoch", -1)) + 1
        _check_kinds(recipe, begun_with, keys, weights)
        ids = read_ids(carried.get("ids"))
    except Exception as error:
        reason = str(error) if isinstance(error, UserError) else type(error).__name__
        raise ConfigError(
            f"{file} is not a checkpoint of this project ({reason}); take the last.ckpt or best.ckpt of a run folder"
        ) from error
    return Checkpoint(file, recipe, begun_with, keys, epochs, weights, ids, carried.get("ids"))


def _check_kinds(recipe: Any, begun_with: Any, keys: Any, weights: Any) -> None:
    for name, value in (
        ("config", recipe),
        ("begun_with", begun_with),
        ("artifact_keys", keys),
        ("state_dict", weights),
    ):
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            raise ConfigError(f"its {name} is a {type(value).__name__}, wanted names with values")
    if not all(isinstance(key, str) and key.isalnum() for key in keys.values()):
        raise ConfigError("its artifact_keys are no keys")


def plan_of(checkpoint: Checkpoint, overrides: Mapping[str, Any], finished: bool = False) -> Plan:
    """A plan to use a trained model: its recipe with changes, without what only training needs.

    Args:
        checkpoint: of the model.
        overrides: changes to its recipe.
        finished: its artifacts are there (:func:`finished_artifacts`), so that no step is planned.

    Raises:
        ConfigError: the changes do not fit the recipe, or it cannot be run.
    """
    bare = _bare(checkpoint, overrides)
    if finished:
        return make_plan({**bare, "steps": {}, "stages": {}})
    begun_with = recipe_with(checkpoint.begun_with, overrides)
    refuse_resolvers(checkpoint, begun_with)
    plan = make_plan(bare, begun_with | {"run_dir": bare["run_dir"], "resume": None})
    refuse_places(plan)
    return plan


def refuse_places(plan: Plan, own: Mapping[str, Any] | None = None) -> None:
    """Raise an error where a stored plan would write outside the run's folder; see :func:`foreign_places`."""
    checks.refuse(line for part in (plan, *plan.stages.values()) for line in foreign_places(part.config, own))


def finished_artifacts(
    checkpoint: Checkpoint, overrides: Mapping[str, Any], artifacts: str | Path = "outputs/artifacts"
) -> dict[str, Artifact]:
    """The artifacts that the model was trained with, by name: from the cache it names, else from ``artifacts``.

    Empty where one of those that its parts read is gone, or where ``overrides`` change how one of these is made.

    Raises:
        ArtifactError: one of them is damaged.
    """
    config, _ = drop_idle_parts(OmegaConf.create(_bare(checkpoint, overrides)))
    plain = resolve_with_placeholders(config, [*PARTS, "steps"])
    names = {"sequences", *artifacts_of({part: plain[part] for part in PARTS})}
    if names & changed_steps(checkpoint, overrides):
        return {}
    store = Store(config.paths.artifacts, also=[artifacts])
    finished = {name: store.open(name, checkpoint.artifact_keys.get(name, "?")) for name in sorted(names)}
    return {name: artifact for name, artifact in finished.items() if artifact} if all(finished.values()) else {}


def changed_steps(checkpoint: Checkpoint, overrides: Mapping[str, Any]) -> set[str]:
    """Names of the steps that are made otherwise under ``overrides``, with all that depend on them."""
    if not overrides:
        return set()
    configs = (OmegaConf.create(_bare(checkpoint, changes)) for changes in ({}, overrides))
    before, after = (resolve_with_placeholders(config, ["steps"])["steps"] for config in configs)
    known = ("sage_pl.", *checks.own_packages())
    checks.refuse(f"steps.{name} is no step" for name, node in after.items() if not node["_target_"].startswith(known))
    inputs: dict[str, tuple[str, ...]] = {name: inputs_of(name, node) for name, node in after.items()}
    changed = {name for name, node in after.items() if before.get(name) != node}
    inputs |= dict.fromkeys(checkpoint.recipe.get("stages") or {}, ("sequences",))
    return {name for name in inputs if changed & set(closure(inputs, [name]))}


def text_settings(checkpoint: Checkpoint, overrides: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The steps ``texts`` and ``embed`` of a trained model's recipe, and its data set, as plain values.

    An encoder that was tuned on the data set's items names the folder of its adapter, if it is there.

    Raises:
        ConfigError: the recipe cannot be used.
    """
    with stored(checkpoint.path):
        config = OmegaConf.create(_bare(checkpoint, overrides))
        plain = resolve_with_placeholders(config, ["steps", "dataset"])
        steps = {name: plain["steps"][name] for name in ("texts", "embed") if name in plain["steps"]}
        key, embed = checkpoint.artifact_keys.get("scft"), steps.get("embed", {})
        if key and "adapter" in embed and (tuned := Store(config.paths.artifacts).open("scft", key)):
            embed["adapter"] = embed["adapter"] or str(tuned.path)
        return steps, plain["dataset"]


def _bare(checkpoint: Checkpoint, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe with changes, without loss terms, warm starts, callbacks and loggers."""
    recipe = recipe_with(checkpoint.recipe, overrides)
    refuse_resolvers(checkpoint, recipe)
    bare = {**recipe, "loss": {**recipe["loss"], "terms": {}}, "start": {}, "callbacks": {}, "logger": {}}
    return bare | {"run_dir": str(checkpoint.path.parent)}  # else it refers to the command that trained


def refuse_resolvers(checkpoint: Checkpoint, recipe: Mapping[str, Any], own: Sequence[str] = ()) -> None:
    """Raise an error where a stored recipe calls a resolver; the user's own command line may."""
    if problems := [line for line in foreign_resolvers(recipe) if line not in own]:
        raise ConfigError(f"{checkpoint.path} is refused: {'; '.join(problems)}; set it anew by an override")


def recipe_with(recipe: Mapping[str, Any], changes: Any) -> dict[str, Any]:
    """A recipe with a command's changes.

    Raises:
        ConfigError: they do not fit it.
    """
    if not isinstance(changes, Mapping | DictConfig):
        raise ConfigError(f"overrides is {changes!r}, wanted keys with values: +overrides.evaluation.seen=keep")
    merged = OmegaConf.create(dict(recipe))
    for name, node in (changes.get("steps") or {}).items():
        if name not in merged.steps and "_target_" in node:  # a whole step, which a scorer brings
            merged.steps[name], merged.artifacts[name] = node, "???"
    if "_target_" in (changes.get("scorer") or {}):  # another scorer has other settings
        merged.scorer = changes["scorer"]
    OmegaConf.set_struct(merged, True)
    try:
        merged.merge_with(changes)
    except OmegaConfBaseException as error:
        raise ConfigError(f"overrides do not fit the checkpoint's configuration: {error}") from error
    plain: Any = OmegaConf.to_container(merged, resolve=False)
    return plain


def prepared(
    checkpoint: Checkpoint,
    overrides: Mapping[str, Any],
    artifacts: str | Path = "outputs/artifacts",
    current: bool = False,
) -> DictConfig:
    """The configuration of :func:`plan_of` with the artifacts that the model was trained with.

    They are opened by their keys. One that is gone, damaged or made otherwise under ``overrides`` is made again of those that
    are there; what the model reads must then be the same again, and so must the data, unless ``current`` is set.

    Args:
        checkpoint: of the model.
        overrides: changes to its recipe.
        artifacts: the cache for what is made again, unless ``overrides`` name one. The recipe's own is read alone.
        current: read the data as they are now, and map them by id onto the numbers of the model.

    Raises:
        ArtifactError: one is damaged and cannot be made again.
        ConfigError: the recipe cannot be used, the data have changed, or what the model reads cannot be had again.
    """
    with stored(checkpoint.path):
        damage = None
        if not current:
            try:
                if finished := finished_artifacts(checkpoint, overrides, artifacts):
                    plan = plan_of(checkpoint, overrides, finished=True)
                    _check_read(checkpoint, plan)
                    note_changes(plan.config, finished["sequences"])
                    return fill_in_artifacts(plan.config, finished)
            except ArtifactError as error:
                damage = error
        try:
            plan, changed = plan_of(checkpoint, overrides), changed_steps(checkpoint, overrides)
            _check_read(checkpoint, plan)
            cache = value_at(overrides, "paths.artifacts") or artifacts
            return made_again(checkpoint, plan, changed, cache, current)
        except UserError as error:
            if damage is None:
                raise
            first, reason = str(damage).partition(";")[0], " ".join(str(error).split())
            raise ArtifactError(f"{first}, and it cannot be made again: {reason}") from error


def _check_read(checkpoint: Checkpoint, plan: Plan) -> None:
    if absent := [name for name in _READ if not isinstance(plan.config.get(name), DictConfig)]:
        raise ConfigError(f"{checkpoint.path} holds a configuration without {', '.join(absent)}; train the model again")


def trained(config: DictConfig, checkpoint: Checkpoint) -> Parts:
    """Data, model and evaluation of a prepared configuration, the model with the checkpoint's weights, ready to serve."""
    values = {
        "config": checkpoint.recipe,
        "begun_with": checkpoint.begun_with,
        "artifact_keys": checkpoint.artifact_keys,
        "ids": checkpoint.packed_ids,
    }
    with stored(checkpoint.path):
        parts = build_parts(config, values)
        _load_weights(parts.model, checkpoint.weights)
    parts.model.eval()
    return parts


def model_of(node: Mapping[str, Any], weights: Mapping[str, torch.Tensor] | None) -> RecommenderModule:
    """The model of a resolved node without its training parts, ready to serve.

    Args:
        node: ``model`` of a run's ``config.yaml``.
        weights: a checkpoint's; None for the initial ones.

    Raises:
        ConfigError: the node cannot be built.
    """
    with stored("the run's config.yaml"):
        model = construct("model", {**node, "objective": None, "terms": {}, "start": {}})
        if weights is not None:
            _load_weights(model, weights)
        return model.eval()


def _load_weights(model: RecommenderModule, weights: Mapping[str, torch.Tensor]) -> None:
    served = {name: value for name, value in weights.items() if not name.startswith((_TERMS, SCORER))}
    scorer = {name: value for name, value in model.state_dict().items() if name.startswith(SCORER)}
    for name, value in scorer.items():  # not those of another scorer, which are chosen anew
        kept = weights.get(name, value)
        served[name] = kept if kept.shape == value.shape else value
    check_weights(model, served)
    model.load_state_dict(served)
