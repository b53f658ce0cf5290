"""Choices of a command, by group: the names of a run, and the parts that its method can do without."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError


def plain_choices(config: DictConfig) -> dict[str, Any]:
    """``config.choices``, which refer to the running command, as plain values; Hydra's own groups are left out.

    A configuration composed in Python, without a command, records none.
    """
    try:
        choices: Any = OmegaConf.to_container(config.choices, resolve=True)
    except InterpolationResolutionError:
        return {}
    return {group: choice for group, choice in choices.items() if not group.startswith("hydra/")}


def parts_of(method: str | None) -> list[str]:
    """The parts that ``without=METHOD/PART`` can leave out, in the configuration of the running command, if there is one."""
    hydra = GlobalHydra.instance()
    return hydra.config_loader().get_group_options(f"without/{method}") if hydra.is_initialized() else []


def check_without(choices: Mapping[str, str | None], available: Iterable[str]) -> str | None:
    """The problem of leaving out a part that the method does not have; None where there is none.

    Args:
        choices: by group, of them ``method`` and ``without``.
        available: the parts of this method, see :func:`parts_of`.

    >>> check_without({"method": "plain", "without": "sage/prototype"}, [])
    'method=plain without=sage/prototype: prototype is a part of method=sage; method=plain has: nothing'
    """
    method, without = choices.get("method"), choices.get("without") or "nothing"
    owner, _, part = without.rpartition("/")
    if not owner or owner == method:
        return None
    names = ", ".join(f"{method}/{name}" for name in available) or "nothing"
    return f"method={method} without={without}: {part} is a part of method={owner}; method={method} has: {names}"
