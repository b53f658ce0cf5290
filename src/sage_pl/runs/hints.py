"""What a mistyped choice or key of the command line probably was."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf

_LAUNCHERS = {"joblib": "joblib", "submitit_local": "slurm", "submitit_slurm": "slurm", "ray": "ray"}  # -> extra
_OVERRIDE = re.compile(r"^[+~]{0,2}([\w./@-]+)=?")
_NO_NAME = "Config group override must be a string"  # Hydra's words
_NEAR = 0.15  # by how much a further suggestion may be less alike than the best


def suggest(key: str, known: Iterable[str]) -> str:
    """The known keys nearest to a mistyped one, as a hint, or nothing."""
    known = list(known)
    close = _near(key, known)
    if not close:  # the right name under the wrong parent, e.g. gamma for loss.gamma
        close = [name for name in known if name.rsplit(".", 1)[-1] == key.rsplit(".", 1)[-1]][:3]
    return f"did you mean {' or '.join(close)}?" if close else ""


def _near(name: str, known: Iterable[str]) -> list[str]:
    """The known names most like a mistyped one, at most three, the best first."""
    close = difflib.get_close_matches(name, list(dict.fromkeys(known)), n=3, cutoff=0.6)
    alike = {one: difflib.SequenceMatcher(None, one, name).ratio() for one in close}
    return [one for one in close if alike[one] >= alike[close[0]] - _NEAR]


def known_keys(config: DictConfig) -> list[str]:
    """Every dotted key of a configuration."""

    def walk(value: Any, path: str) -> Iterator[str]:
        if path:
            yield path
        if isinstance(value, Mapping):
            for key, child in value.items():
                yield from walk(child, f"{path}.{key}" if path else str(key))

    return list(walk(OmegaConf.to_container(config, resolve=False), ""))


def of_composing(error: Exception) -> bool:
    """Whether Hydra could not compose a configuration."""
    return isinstance(error, ConfigCompositionException | OverrideParseException) or _NO_NAME in str(error)


def hints(arguments: list[str], config_dir: Path, config_name: str, error: Exception | None = None) -> list[str]:
    """What is wrong with the overrides of a configuration that could not be composed; nothing where that is unknown.

    A line for a plugin that is not installed, or a choice that its group does not have, otherwise for every unknown key.

    Args:
        arguments: of the command line.
        config_dir, config_name: the configuration they are meant for.
        error: of Hydra.
    """
    if absent := _absent_launchers(arguments):
        return absent
    if isinstance(error, MissingConfigException) and (line := _no_choice(error, arguments, config_dir)):
        return [line]
    overrides = [a for a in arguments if "=" in a and not a.startswith("-")]
    groups = [str(p.relative_to(config_dir)) for p in config_dir.rglob("*") if p.is_dir()]
    if line := _absent_group(str(error), overrides, groups):
        return [line]
    if _NO_NAME in str(error):
        return _no_names(overrides, groups, config_dir)
    several = [a for a in overrides if a.partition("=")[0] in groups and "," in a]
    if several and not {"-m", "--multirun"} & set(arguments):
        return [f"{several[0]} names several choices; add -m to run each of them"]
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(config_dir), version_base="1.3"):
            choices = [a for a in overrides if a.partition("=")[0] in groups and "," not in a]
            known = known_keys(compose(config_name, overrides=choices)) + groups
    except HydraException:
        return []
    keys = [(m.group(1), a) for a in overrides if (m := _OVERRIDE.match(a))]
    unknown = {k: a for k, a in keys if k.partition("@")[0] not in known and not k.startswith("hydra.")}
    return [line for key, argument in unknown.items() if (line := _no_key(key, argument, known))]


def _no_names(overrides: list[str], groups: list[str], config_dir: Path) -> list[str]:
    """A sentence about every choice that is no name but a number or a mapping."""
    parsed = OverridesParser.create().parse_overrides(overrides)
    wrong = (one for one in parsed if one.key_or_group in groups and not isinstance(one.value(), str | list))
    return [f"there is no {one.input_line}; choices: {_choices(config_dir / one.key_or_group)}" for one in wrong]


def _choices(group: Path) -> str:
    return ", ".join(sorted(file.stem for file in group.glob("*.yaml")))


def _no_key(key: str, argument: str, known: Iterable[str]) -> str:
    """The sentence about an unknown key; nothing about a new one that is added on purpose and resembles none."""
    hint = suggest(key, known)
    if hint or argument.startswith("+"):
        return f"there is no key {key}; {hint}" if hint else ""
    return f"there is no key {key}; --cfg job prints every key of the command, and +{argument} adds a new one"


def _no_choice(error: MissingConfigException, arguments: list[str], config_dir: Path) -> str:
    """The sentence about a choice that its group does not have; nothing where no argument made it.

    Choices in folders below the group count too, such as ``without=sage/prototype`` for ``without=prototype``.
    """
    for argument in arguments:
        key, _, values = argument.lstrip("+").partition("=")
        group = key.partition("@")[0]
        choice = (error.missing_cfg_file or "").removeprefix(f"{group}/").removesuffix(".yaml")
        if choice not in (one.strip() for one in values.split(",")) or not (config_dir / group).is_dir():
            continue
        below = [
            str(path.relative_to(config_dir / group).with_suffix("")) for path in (config_dir / group).glob("*/*.yaml")
        ]
        same = [name for name in sorted(below) if name.rpartition("/")[2] == choice]
        options = sorted(error.options or ())
        if meant := _near(choice, options) or same or _near(choice, below):
            return f"there is no {key}={choice}; did you mean {' or '.join(f'{key}={name}' for name in meant)}?"
        beside = [name for name in sorted(below) if "/" in choice and name.startswith(f"{choice.partition('/')[0]}/")]
        return f"there is no {key}={choice}; choices: {', '.join(beside or options)}"
    return ""


def _absent_group(problem: str, overrides: Iterable[str], groups: Iterable[str]) -> str:
    """The sentence about a group that no part of this configuration has, such as a gate, or nothing."""
    if place := re.search(r"In '(experiment|without)/(.+)': Could not override '(.+?)'", problem):
        methods = [argument for argument in overrides if argument.startswith("method=")]
        other = f", which {methods[0]} does not have: leave out one of the two" if methods else ", which is not there"
        return f"{place[1]}={place[2]} changes {place[3]}{other}"
    for argument in overrides:
        key = argument.partition("=")[0]
        if f"Could not override '{key}'" not in problem or key.partition("@")[0] not in groups:
            continue
        if "@" in key:
            return f"{key} is new in this run; write +{argument}"
        return f"{argument} has no place in this run, no part of which has the group {key}; leave it out"
    return ""


def _absent_launchers(arguments: list[str]) -> list[str]:
    """How to install the launchers that a command names."""
    return [
        f"hydra/launcher={name} comes with: pip install 'sage-pl[{extra}]'"
        for name, extra in _LAUNCHERS.items()
        if f"hydra/launcher={name}" in arguments and not _installed(f"hydra_{name.split('_')[0]}_launcher")
    ]


def _installed(plugin: str) -> bool:
    return find_spec(f"hydra_plugins.{plugin}") is not None
