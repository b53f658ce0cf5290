"""Continuing a run: what the command line may change in the recipe of a checkpoint."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser

from sage_pl.artifacts.identity import flat, is_decisive, value_at
from sage_pl.hosts import host_of
from sage_pl.runs.checkpoint import Checkpoint, open_checkpoint, refuse_resolvers
from sage_pl.runs.checks import ConfigError
from sage_pl.runs.construct import foreign_resolvers

_FREE_GROUPS = {  # groups that may change when a run is continued -> the part of the recipe they set
    **{group: group for group in ("logger", "trainer", "callbacks", "paths")},
    "debug": "trainer",
}
_RESULTS = ("outputs", "artifacts")  # under paths
_TRACKING = ("wandb.ai", "localhost", "127.0.0.1")  # W&B's own process is asked on this machine
_DURATION = ("trainer.max_", "trainer.limit_", "callbacks.early_stopping.patience")
_FIXED = (  # data, split and the network's structure: a continued run keeps them
    *("dataset.", "split.", "steps.", "evaluation.sampled", "evaluation.seed", "item_encoder.", "sequence_encoder."),
    *("backbone.", "optimizer.", "schedule.", "stages.", "embedder.", "dim", "seed"),
)


def open_last(path: str) -> Checkpoint:
    """The checkpoint to continue from: ``path``, or the best one beside a ``last.ckpt`` that was written an epoch later.

    The best one is written first, so a process that was killed between the two leaves one that is ahead.
    """
    checkpoint = open_checkpoint(path, mapped=True)
    best = checkpoint.path.with_name("best.ckpt")
    if checkpoint.path.name != "last.ckpt" or not best.is_file():
        return checkpoint
    ahead = open_checkpoint(best, mapped=True)
    return ahead if ahead.epochs > checkpoint.epochs and ahead.recipe == checkpoint.recipe else checkpoint


def continued(
    checkpoint: Checkpoint, asked: Mapping[str, Any], overrides: Sequence[str], option: str = "resume"
) -> dict[str, Any]:
    """The recipe of a run that continues: the checkpoint's, with what the command line changes.

    Data, method, backbone and every other choice come from the checkpoint. Values of the command line are taken over, and the
    caller logs them; a choice or a value that contradicts the checkpoint is refused.

    Args:
        checkpoint: to continue from.
        asked: the recipe that the command line composes.
        overrides: the command line's own.
        option: the key of the command line that names the checkpoint.

    Raises:
        ConfigError: listing every contradiction.
    """
    recipe: dict[str, Any] = copy.deepcopy(dict(checkpoint.recipe))
    choices: Mapping[str, Any] = recipe.get("choices") or {}
    groups: Mapping[str, Any] = asked.get("choices") or {}
    problems = []
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        key = override.get_key_element().lstrip("+~")
        if key not in groups:
            problem = _take_over(recipe, asked, key, override.is_delete())
        elif key in _FREE_GROUPS:
            recipe[_FREE_GROUPS[key]], problem = asked[_FREE_GROUPS[key]], None
            recipe["choices"] = {**choices, key: groups[key]}
        else:
            problem = _other_choice(key, choices, groups[key])
        problems += [] if problem is None else [problem]
    if problems:
        raise ConfigError(
            f"{checkpoint.path} does not fit this command: {'; '.join(problems)}. Leave these out, since {option}=... takes "
            f"data, method and backbone from the checkpoint, or start a new run without {option}"
        )
    recipe |= {key: asked[key] for key in ("run_dir", "sweep", "report") if key in asked}
    recipe["resume"] = str(checkpoint.path)
    places = asked.get("paths") or {}  # results go where the command line says; data are read where they were
    recipe["paths"] = {**(recipe.get("paths") or {}), **{name: places[name] for name in _RESULTS if name in places}}
    refuse_resolvers(checkpoint, recipe, foreign_resolvers(asked))
    if checkpoint.begun_with.get("stages"):
        refuse_resolvers(checkpoint, checkpoint.begun_with, foreign_resolvers(asked))
    return recipe


def earlier_cache(checkpoint: Checkpoint) -> str:
    """The cache of artifacts that the checkpoint's run wrote; a run that continues reads it."""
    return str(value_at(checkpoint.recipe, "paths.artifacts"))


def own_hosts(asked: Mapping[str, Any]) -> list[str]:
    """Hosts that the command line itself names, in addresses or by its choice of a logger."""
    addresses = [
        value for _, value in flat(asked) if isinstance(value, str) and value.startswith(("http://", "https://"))
    ]
    loggers = (asked.get("logger") or {}).values()
    tracked = any(str(node.get("_target_")).endswith(".WandbRun") for node in loggers if isinstance(node, Mapping))
    return [*map(host_of, addresses), *(_TRACKING if tracked else ())]


def _other_choice(group: str, choices: Mapping[str, Any], choice: Any) -> str | None:
    if group not in choices:
        return f"it does not record its {group}, got {group}={choice}"
    same = str(choices[group]) == str(choice)
    return None if same else f"it was trained with {group}={choices[group]}, got {group}={choice}"


def _take_over(recipe: dict[str, Any], asked: Mapping[str, Any], key: str, delete: bool) -> str | None:
    """Enter one value of the command line into the recipe, unless it contradicts it; returns the contradiction."""
    before, after = value_at(recipe, key), None if delete else value_at(asked, key)
    if before != after and key.startswith(_FIXED) and not is_place(before, after):
        return f"it was trained with {key}={before}, got {key}={after}"
    *parents, leaf = key.split(".")
    holder = recipe
    for name in parents:
        holder = holder.setdefault(name, {})
        if not isinstance(holder, dict):
            return f"{name} is {holder} there, so {key} cannot be set below it"
    if delete:
        holder.pop(leaf, None)
    else:
        holder[leaf] = after
    return None


def is_place(before: Any, after: Any) -> bool:
    """Whether two values are places of files: the same data may have moved, and the artifacts' keys tell others apart."""
    return all(isinstance(value, str) and ("/" in value or "\\" in value) for value in (before, after))


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Decisive settings that differ between two recipes, but for how long a run goes on."""
    before, after = dict(flat(old)), dict(flat(new))
    keys = sorted(key for key in before.keys() | after.keys() if is_decisive(key) and not key.startswith(_DURATION))
    return [f"{key}: {before.get(key)} -> {after.get(key)}" for key in keys if before.get(key) != after.get(key)]


def check_artifacts(checkpoint: Checkpoint, keys: Mapping[str, str]) -> None:
    """A run continues with the artifacts it began with.

    Raises:
        ConfigError: naming those that are others.
    """
    if other := [name for name, key in keys.items() if checkpoint.artifact_keys.get(name, key) != key]:
        raise ConfigError(
            f"the checkpoint was trained with another {', '.join(other)}; resume with its own data settings"
        )


def check_duration(checkpoint: Checkpoint, max_epochs: int | None) -> None:
    """A run that was trained longer than is asked now has no result of the shorter duration.

    Raises:
        ConfigError: naming both durations.
    """
    if max_epochs is not None and 0 <= max_epochs < checkpoint.epochs:
        raise ConfigError(
            f"{checkpoint.path} was trained for {checkpoint.epochs} epochs, got trainer.max_epochs={max_epochs}; leave that "
            f"out to test its best epoch, or set at least {checkpoint.epochs} to go on"
        )
