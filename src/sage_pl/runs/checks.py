"""Checks of a configuration as plain values; each returns what is wrong, and nothing is built or changed."""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from sage_pl.artifacts.identity import flat, value_at
from sage_pl.errors import SettingError

PACKAGES, PACKAGES_GROUP = "SAGE_PL_PACKAGES", "sage_pl.packages"
_LIGHTNING = ("callbacks.", "loggers.", "profilers.")
_COMMON = (
    "sage_pl.",
    "torch.nn.",
    "torch.optim.",
    *(f"pytorch_lightning.{part}" for part in _LIGHTNING),
)
ALLOWED = (*_COMMON, "pytorch_lightning.Trainer")  # beginnings of a `_target_`
HOMES = (*_COMMON, "pytorch_lightning.trainer.")  # modules that a `_target_` may lead to
_NO_PARTS = (  # what a part uses, and never is: some of it writes files or connects while it is built
    *(f"sage_pl.{room}." for room in ("artifacts", "commands", "comparison", "hosts", "report", "runs", "serving")),
    "sage_pl.semantic.language_models.",
)
_SECTIONS = {  # a part of the configuration -> beginnings of a `_target_` in it
    "model": (
        *("sage_pl.nn.", "sage_pl.data.targets.", "sage_pl.training.optimizers.", "sage_pl.training.schedules."),
        *("torch.nn.", "torch.optim."),
    ),
    "data": ("sage_pl.data.",),
    "callbacks": ("sage_pl.training.callbacks.", "pytorch_lightning.callbacks."),
    "logger": ("sage_pl.training.loggers.", "pytorch_lightning.loggers."),
}
SPECIAL = {"_target_", "_partial_", "_convert_", "_recursive_"}


class ConfigError(SettingError):
    """The configuration cannot be run; the message lists every problem found.

    Args:
        problems: the message, or a line for each of several.
    """

    def __init__(self, *problems: str) -> None:
        lines = "".join(f"\n  {line}" for line in problems)
        super().__init__(problems[0] if len(problems) == 1 else f"the configuration cannot be run:{lines}")
        self.problems = problems


def refuse(problems: Iterable[str], causes: Iterable[tuple[str, ...]] = ()) -> None:
    """Raise one error for all problems, if there are any.

    Args:
        problems: a line for each; an equal line counts once.
        causes: see :class:`sage_pl.errors.UserError`.

    Raises:
        ConfigError: with the problem, or with a line for each of several.
    """
    if lines := dict.fromkeys(problems):
        error = ConfigError(*lines)
        error.causes = tuple(causes)
        raise error


def node_problems(recipe: Mapping[str, Any]) -> Iterator[str]:
    """Lines for steps, warm starts, batch extras, callbacks and parts of stages that are no nodes."""
    for path in ("steps", "start", "data.extras", "callbacks"):
        for name, node in (value_at(recipe, path) or {}).items():
            if not (_is_reference(node) or (isinstance(node, Mapping) and "_target_" in node)):
                yield f"{path}.{name} is no part: it has no _target_; leave it out, or write the whole node"
    for stage, parts in (recipe.get("stages") or {}).items():
        if not isinstance(parts, Mapping):
            yield f"stages.{stage} is {parts!r}, wanted the parts in which that run differs"
            continue
        for name, node in parts.items():
            if isinstance(recipe.get(name), Mapping) and not (isinstance(node, Mapping) or _is_reference(node)):
                choice = f"; a choice is written +{name}@stages.{stage}.{name}={node}" if isinstance(node, str) else ""
                yield f"stages.{stage}.{name} is {node!r}, wanted keys with values{choice}"


def _is_reference(node: Any) -> bool:
    return node is None or (isinstance(node, str) and node.startswith("${"))


def nodes(config: Any, path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every mapping that names a ``_target_``, with its dotted path."""
    if isinstance(config, Mapping):
        if "_target_" in config:
            yield path, config
        for key, value in config.items():
            yield from nodes(value, f"{path}.{key}" if path else str(key))
    elif isinstance(config, Sequence) and not isinstance(config, str | bytes):
        for index, value in enumerate(config):
            yield from nodes(value, f"{path}[{index}]")


def unresolved_texts(value: Any, path: str) -> list[str]:
    """A line for every key and text that still holds ``${``."""
    lines = [(place.lstrip("."), text) for place, text in texts(value, path) if "${" in text]
    return [f"{place} holds {text!r}, a reference that was not resolved; write the value" for place, text in lines]


def texts(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Every key and text of nested plain values with its dotted path."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, child in value.items():
            yield f"{path}.{key}", str(key)
            yield from texts(child, f"{path}.{key}")
    elif isinstance(value, list | tuple):
        for index, child in enumerate(value):
            yield from texts(child, f"{path}[{index}]")


def own_packages() -> tuple[str, ...]:
    """Packages of the user's own whose classes may be parts: named in the environment variable ``SAGE_PL_PACKAGES``
    (separated by commas), or by an installed distribution in the entry-point group ``sage_pl.packages``.
    """
    names = [name.strip() for name in os.environ.get(PACKAGES, "").split(",")]
    return tuple(f"{name}." for name in (*names, *_installed_packages()) if name)


@cache
def _installed_packages() -> tuple[str, ...]:
    return tuple(point.value for point in importlib.metadata.entry_points(group=PACKAGES_GROUP))


def part_called(target: str) -> Any:
    """What a ``_target_`` names: its first modules are imported, the rest are attributes.

    Raises:
        ImportError, AttributeError: there is nothing of that name.
    """
    first, *rest = target.split(".")
    part = importlib.import_module(first)
    for name in rest:
        if inspect.ismodule(part) and not hasattr(part, name):
            importlib.import_module(f"{part.__name__}.{name}")
        part = getattr(part, name)
    return part


def target_problem(path: str, node: Mapping[str, Any], packages: tuple[str, ...]) -> str | None:
    """What is wrong with the ``_target_`` of one node or with its arguments, if anything.

    Args:
        path: of the node, for the message.
        node: plain values.
        packages: see :func:`own_packages`.
    """
    section = re.split(r"[.\[]", path, maxsplit=1)[0]
    target, allowed = node["_target_"], (*_SECTIONS.get(section, ALLOWED), *packages)
    if not isinstance(target, str) or not target.startswith(allowed):
        return (
            f"{path}._target_ is {target!r}; allowed are names that begin with {', '.join(allowed)}, and those of "
            f"packages that the environment variable {PACKAGES} names"
        )
    try:
        part = part_called(target)
    except Exception as error:  # noqa: BLE001 - an import may fail in any way; the reason is passed on
        return f"{path}._target_ {target!r} cannot be imported: {error}"
    if not f"{getattr(part, '__module__', '')}.".startswith((*HOMES, *packages)):
        return f"{path}._target_ {target!r} leads to {part!r}, which lives outside {', '.join((*HOMES, *packages))}"
    if not inspect.isclass(part):
        return f"{path}._target_ {target!r} is a {type(part).__name__}; parts are classes"
    if f"{part.__module__}.".startswith(_NO_PARTS):
        return f"{path}._target_ {target!r} is no part of a run; parts are what the files of conf/ name"
    if "_args_" in node:
        return f"{path} passes positional arguments (_args_); name them"
    arguments = {key: value for key, value in node.items() if key not in SPECIAL}
    try:
        signature = inspect.signature(part)
    except ValueError:
        return f"{path}._target_ {target!r} is no part: it cannot be called with named arguments"
    try:
        (signature.bind_partial if node.get("_partial_") else signature.bind)(**arguments)
    except TypeError as error:
        return f"{path} ({target}): {error}; it takes {', '.join(signature.parameters)}"
    return None


def target_problems(config: Mapping[str, Any]) -> list[str]:
    """A line for every ``_target_`` that is not allowed or cannot be called with its arguments."""
    packages = own_packages()
    return [problem for path, node in nodes(config) if (problem := target_problem(path, node, packages))]


def check_needs(needs: frozenset[str], provides: frozenset[str]) -> None:
    """What the losses read from a batch must be collated into it.

    Raises:
        ConfigError: naming what is missing.
    """
    if missing := needs - provides:
        raise ConfigError(
            f"the losses read {', '.join(sorted(missing))} from a batch, which holds {', '.join(sorted(provides))}; "
            "add what provides it under data.extras (conf/train.yaml)"
        )


def missing_values(recipe: Mapping[str, Any], *prefixes: str) -> list[str]:
    """A line that names the mandatory values (``???``) below the given keys which are not set, if there are any."""
    below = tuple(f"{prefix}." for prefix in prefixes)
    keys = sorted(key for key, value in flat(recipe) if value == "???" and (key in prefixes or key.startswith(below)))
    return [f"please set {', '.join(f'{key}=...' for key in keys)}"] if keys else []


def given_artifacts(recipe: Mapping[str, Any]) -> list[str]:
    """A line if paths of artifacts are set by hand: preparation alone fills them in."""
    paths = {name: path for name, path in (recipe.get("artifacts") or {}).items() if path != "???"}
    if not paths:
        return []
    return [
        f"{', '.join(f'artifacts.{name}={path}' for name, path in paths.items())} cannot be set: preparation fills them in. "
        "To use something made elsewhere: a tuned text encoder: embedder=scft steps.embed.adapter=FOLDER; vectors: "
        "embedder=precomputed steps.embed.path=FILE; a whole cache: paths.artifacts=FOLDER"
    ]


def check_given(config: Mapping[str, Any], *keys: str) -> None:
    """A command's own mandatory arguments must be set.

    Raises:
        ConfigError: naming those that are not.
    """
    refuse(missing_values({key: config.get(key, "???") for key in keys}, *keys))


def absent_files(config: Mapping[str, Any], *keys: str) -> list[str]:
    """A line for every key of a command that names a file which is not there."""
    return [
        f"there is no file {config[key]}; {key}=FILE names one"
        for key in keys
        if isinstance(config[key], str) and not Path(config[key]).is_file()
    ]


def reads_current(config: Mapping[str, Any]) -> bool:
    """Whether a command's ``data`` is ``current``: the files as they are now, and not as the model was trained with them.

    Raises:
        ConfigError: it is neither that nor ``trained``.
    """
    refuse(
        [f"data is {config['data']!r}; wanted trained or current"]
        if config["data"] not in ("trained", "current")
        else []
    )
    return bool(config["data"] == "current")


def check_weights(model: Any, weights: Mapping[str, Any]) -> None:
    """A checkpoint's weights have the names and shapes of the configured model's, whose shards count as whole tables.

    Raises:
        ConfigError: naming the first that differ.
    """
    from sage_pl.nn.item_encoders.sharded import shards_of  # commands without a model load no torch

    ours, theirs = (
        {name: tuple(getattr(value, "shape", ("extra state",))) for name, value in part.items()}
        for part in (model.state_dict(), weights)
    )
    ours |= {name: (table.n_rows, *ours[name][1:]) for name, table in shards_of(model).items()}
    differing = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
    if differing:
        pairs = [f"{name}: {theirs.get(name, 'absent')} -> {ours.get(name, 'absent')}" for name in differing[:3]]
        raise ConfigError(
            f"the checkpoint's weights do not fit the configured model ({'; '.join(pairs)}); leave out the setting that "
            "changes the model's shape, such as dim, data.max_len or freeze"
        )
