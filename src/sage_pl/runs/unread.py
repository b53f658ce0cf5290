"""Settings of a command that nothing of its run reads."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from sage_pl.artifacts.identity import SOURCES, flat, value_at
from sage_pl.evaluation.groups import UNREAD
from sage_pl.runs.checks import texts
from sage_pl.runs.plan import BUILT, Plan

_REFERENCE = re.compile(r"\$\{(?:oc\.select:)?([\w.]+)")
_BY_COMMANDS = ("dataset.name", "dataset.prompt")  # read without a reference: the log, the lists of a run


def unread(plan: Plan, overrides: Iterable[str], trains: bool = True) -> list[str]:
    """The keys that ``overrides`` set and that neither the plan nor a stage of it reads.

    Args:
        plan: of the command.
        overrides: of the command line.
        trains: whether the plan's own model is built and trained; False where artifacts alone are made.

    A key is read where a part, a step that is prepared or the evaluation holds it or refers to it, through any number of
    references. Keys of ``hydra`` and choices of groups are no settings.

    >>> # method=plain loss.gamma=0.3 steps.cluster.n_neighbors=9  →  ["loss.gamma", "steps.cluster.n_neighbors"]
    """
    keys = [
        override.key_or_group
        for override in OverridesParser.create().parse_overrides(list(overrides))
        if override.package is None and not override.is_delete()
    ]
    paths = [_paths_read(plan.config, plan.steps, trains)]
    paths += [_paths_read(stage.config, plan.steps, True) for stage in plan.stages.values()]
    known: Any = OmegaConf.to_container(plan.config, resolve=False)
    choices = {*(known.get("choices") or {}), *(key for key in keys if key.partition(".")[0] not in known)}
    return [
        key
        for key in dict.fromkeys(keys)
        if key not in choices and not any(_touches(key, path) for read in paths for path in read)
    ]


def _paths_read(config: Any, steps: Iterable[str], trains: bool) -> set[str]:
    """Every dotted key that a run reads as a whole: what it builds, and what that refers to."""
    raw: Any = OmegaConf.to_container(config, resolve=False)
    groups = (raw.get("evaluation") or {}).get("groups") or {}
    for name in UNREAD.get(str(groups.get("item_rule")), ()):
        groups.pop(name, None)
    waiting = [*_BY_COMMANDS, *(f"steps.{name}" for name in steps)]
    waiting += [f"evaluation.{key}" for key, _ in flat(raw.get("evaluation") or {}) if trains]
    parts = {"steps", "evaluation"} if trains else {"evaluation", *BUILT}
    waiting += [str(name) for name in raw if name not in SOURCES | parts]
    read = set[str]()
    while waiting:
        path = waiting.pop()
        if path not in read:
            read.add(path)
            waiting += [name for _, text in texts(_node(raw, path), "") for name in _REFERENCE.findall(text)]
    return read


def _node(raw: Mapping[str, Any], path: str) -> Any:
    """The node at a dotted key, or the reference that stands on the way to it."""
    names = path.split(".")
    for end in range(1, len(names)):
        if isinstance(node := value_at(raw, ".".join(names[:end])), str):
            return node
    return value_at(raw, path)


def _touches(key: str, path: str) -> bool:
    """Whether one of two dotted keys is the other or lies below it."""
    return f"{key}.".startswith(f"{path}.") or f"{path}.".startswith(f"{key}.")
