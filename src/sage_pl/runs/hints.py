"""What a mistyped key of the command line probably was."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

_LAUNCHERS = {"joblib": "joblib", "submitit_local": "slurm", "submitit_slurm": "slurm", "ray": "ray"}  # -> extra
_OVERRIDE = re.compile(r"^[+~]{0,2}([\w./@-]+)=?")


def suggest(key: str, known: Iterable[str]) -> str:
    """The known key nearest to a mistyped one, as a hint, or nothing."""
    known = list(known)
    close = difflib.get_close_matches(key, known, n=3, cutoff=0.6)
    if not close:  # the right name under the wrong parent, e.g. gamma for loss.gamma
        close = [name for name in known if name.rsplit(".", 1)[-1] == key.rsplit(".", 1)[-1]][:3]
    return f"did you mean {' or '.join(close)}?" if close else ""


def known_keys(config: DictConfig) -> list[str]:
    """Every dotted key of a configuration."""

    def walk(value: Any, path: str) -> Iterator[str]:
        if path:
            yield path
        if isinstance(value, Mapping):
            for key, child in value.items():
                yield from walk(child, f"{path}.{key}" if path else str(key))

    return list(walk(OmegaConf.to_container(config, resolve=False), ""))


def hints(arguments: list[str], config_dir: Path, config_name: str) -> list[str]:
    """One line for every override whose key is unknown, whose choice is in a folder of its group, or whose plugin is absent.

    Args:
        arguments: of the command line.
        config_dir, config_name: the configuration they are meant for.
    """
    if absent := _absent_launchers(arguments):
        return absent
    keys = [m.group(1) for a in arguments if "=" in a and not a.startswith("-") and (m := _OVERRIDE.match(a))]
    groups = [str(p.relative_to(config_dir)) for p in config_dir.rglob("*") if p.is_dir()]
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(config_dir), version_base="1.3"):
            choices = [a for a in arguments if a.partition("=")[0] in groups and "," not in a]
            known = known_keys(compose(config_name, overrides=choices))
    except HydraException:
        return _in_folders(arguments, config_dir)  # Hydra's own message lists the choices that a group has itself
    known += groups
    unknown = [key for key in keys if key.partition("@")[0] not in known and not key.startswith("hydra.")]
    return [f"{key}: no such key; {hint}" for key in unknown if (hint := suggest(key, known))]


def _absent_launchers(arguments: list[str]) -> list[str]:
    """How to install the launchers that a command names."""
    return [
        f"hydra/launcher={name} comes with: pip install 'sage-pl[{extra}]'"
        for name, extra in _LAUNCHERS.items()
        if f"hydra/launcher={name}" in arguments and not _installed(f"hydra_{name.split('_')[0]}_launcher")
    ]


def _installed(plugin: str) -> bool:
    return find_spec(f"hydra_plugins.{plugin}") is not None


def _in_folders(arguments: list[str], config_dir: Path) -> list[str]:
    """For every choice that only folders of its group have, such as ``without=prototype``, those choices."""
    lines = []
    for group, _, choice in (argument.partition("=") for argument in arguments):
        files = sorted((config_dir / group).glob("*/*.yaml")) if choice else []
        if names := [f"{group}={file.parent.name}/{choice}" for file in files if file.stem == choice]:
            lines.append(f"{group}={choice}: no such choice; did you mean {' or '.join(names)}?")
    return lines
