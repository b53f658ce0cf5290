"""Choices of a command, by group: the names of a run, and the parts that its method can do without."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf


def enter_choices(config: DictConfig) -> None:
    """Replace ``config.choices``, which refers to the running command, by plain values; Hydra's own groups are left out."""
    choices: Any = OmegaConf.to_container(config.choices, resolve=True)
    config.choices = {group: choice for group, choice in choices.items() if not group.startswith("hydra/")}


def parts_of(method: str | None) -> list[str]:
    """The parts that ``without=METHOD/PART`` can leave out, in the configuration of the running command."""
    return GlobalHydra.instance().config_loader().get_group_options(f"without/{method}")


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
