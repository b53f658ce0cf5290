"""Settings of a command that nothing of its run reads."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.utils import get_object
from omegaconf import OmegaConf
from omegaconf.errors import InterpolationToMissingValueError, OmegaConfBaseException

from sage_pl.artifacts.identity import value_at
from sage_pl.errors import UserError
from sage_pl.evaluation.groups import Groups
from sage_pl.runs.checks import texts
from sage_pl.runs.hints import known_keys
from sage_pl.runs.plan import BUILT, Plan, make_plan, recipe_of

_REFERENCE = re.compile(r"\$\{(?:oc\.select:)?([\w.]+)")
ReadWith = Mapping[str, tuple[str, Any]]
# setting, also of a part of the part -> another one of the part, and the value with which the first is read; bool: any true one
_CHOSEN = {  # choices that a run may do without, and what each sets
    "backbone": "backbone",
    "decoder": "decoder",
    "describer": "steps.phrases.describer",
    "embedder": "steps.embed",
    "optimizer": "optimizer",
    "schedule": "schedule",
    "tokenizer": "steps.tokens",
}
_BY_CODE = frozenset(  # top-level keys that no part refers to; all others are read where one does
    [
        *("allow_host", "artifacts", "catalog", "choices", "floors", "matmul_precision", "paths", "refit", "report"),
        *("resume", "role", "run_dir", "search", "seed", "sweep", "verify", "wanted"),
    ]
)
_WITH_ALL = "without=nothing"
_BY_COMMANDS = ("dataset.name", "dataset.prompt")  # read without a reference: the log, the lists of a run
_BY_EVALUATION = ("evaluation.groups", "evaluation.ks", "evaluation.seen")


def unread(plan: Plan, overrides: Iterable[str], trains: bool = True) -> list[str]:
    """The keys that ``overrides`` set and that neither the plan nor a stage of it reads.

    Args:
        plan: of the command.
        overrides: of the command line.
        trains: whether the plan's own model is built and trained; False where artifacts alone are made.

    A key is read where a part, a step that is prepared or the evaluation holds it or refers to it, through any number of
    references; one of a stage (``stages.NAME.KEY``) where that stage does; a weight of 0 where it leaves its term out. Of a
    part it is not where the class has it in ``READ_WITH`` beside a setting of another value. Keys of ``hydra`` and choices of
    groups are no settings, apart from those that a run may do without, such as a backbone: these are read where what they set
    is.

    >>> # method=plain loss.gamma=0.3 steps.cluster.n_neighbors=9  →  ["loss.gamma", "steps.cluster.n_neighbors"]
    """
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    return unread_keys(plan, [o.key_or_group for o in parsed if o.package is None and not o.is_delete()], trains)


def unread_keys(plan: Plan, keys: Iterable[str], trains: bool = True) -> list[str]:
    """Those of the dotted keys that neither the plan nor a stage of it reads; see :func:`unread`."""
    keys = list(dict.fromkeys(keys))
    run = _what_is_read(plan, plan.steps, trains)
    stages = {name: _what_is_read(stage, plan.steps, True) for name, stage in plan.stages.items()}
    of_dropped = {name for one in (plan, *plan.stages.values()) for name in _weights_of_dropped(one)}
    known: Any = OmegaConf.to_container(plan.config, resolve=False)
    choices = {*(known.get("choices") or {}), *(key for key in keys if key.partition(".")[0] not in known)}
    choices -= {name for name, path in _CHOSEN.items() if value_at(known, path) is not None}
    settings = {key: _CHOSEN.get(key, key) for key in keys if key not in choices}

    def is_read(path: str) -> bool:
        root, _, rest = path.partition(".")
        if root != "stages":
            # a stage has the run's keys but for those of parts that it replaces
            return (
                path in of_dropped
                or run.has(path)
                or any(one.has(path) and path in one.known for one in stages.values())
            )
        name, _, own = rest.partition(".")
        return name in stages and not is_below(own, "steps") and (not own or stages[name].has(own))

    return [key for key, path in settings.items() if not is_read(path)]


def _weights_of_dropped(plan: Plan) -> Iterator[str]:
    """Keys that decided that a term is left out: what the weight of a term without weight refers to, and the weight itself."""
    for path in plan.dropped:
        term = value_at(plan.recipe, path)
        if path.startswith("loss.terms.") and isinstance(term, Mapping):
            yield f"{path}.weight"
            yield from _REFERENCE.findall(str(term.get("weight")))


class _Read(NamedTuple):
    """The dotted keys that a run reads as a whole, those below them that a part leaves aside, and all that there are."""

    paths: set[str]
    aside: set[str]
    known: set[str]

    def has(self, key: str) -> bool:
        aside = any(is_below(key, path) for path in self.aside)
        return not aside and any(_touches(key, path) for path in self.paths)


def _what_is_read(plan: Plan, steps: Iterable[str], trains: bool) -> _Read:
    """What a run builds, and what that refers to."""
    config = plan.config
    raw: Any = OmegaConf.to_container(config, resolve=False)
    waiting = [*_BY_COMMANDS, *(_BY_EVALUATION if trains else ()), *(f"steps.{name}" for name in steps)]
    roots = _BY_CODE | ({*BUILT} - {"steps"} if trains else set())
    waiting += [str(name) for name in raw if name in roots]
    read = _Read(set(), {*_of_dropped(plan), *_starts_of_nobody(raw)}, {*known_keys(config)})
    while waiting:
        path = waiting.pop()
        if path not in read.paths:
            read.paths.add(path)
            read.aside.update(_drop_aside(_node(raw, path), path, config))
            waiting += [name for _, text in texts(_node(raw, path), "") for name in _REFERENCE.findall(text)]
    return read


def _of_dropped(plan: Plan) -> Iterator[str]:
    """The settings of parts that are left out, but for the weight of 0 that leaves a term out.

    Batch extras that no term needs are named by the command that leaves them out.
    """
    for path in plan.dropped:
        node = value_at(plan.recipe, path)
        if path.startswith("data.extras."):
            continue
        if isinstance(node, Mapping):
            yield from (f"{path}.{name}" for name in node if name != "weight")
        elif node is not None:
            yield path


def _starts_of_nobody(raw: Mapping[str, Any]) -> Iterator[str]:
    """The starts of a gate for experts that are not there."""
    experts, starts = (value_at(raw, f"item_encoder.{name}") for name in ("experts", "gate.starts"))
    if isinstance(experts, Mapping) and isinstance(starts, Mapping):
        yield from (f"item_encoder.gate.starts.{name}" for name in starts if name not in experts)


def _drop_aside(node: Any, path: str, config: Any) -> Iterator[str]:
    """Remove what parts leave aside from a node; the dotted keys."""
    if not isinstance(node, dict):
        return
    for name, child in node.items():
        yield from _drop_aside(child, f"{path}.{name}", config)
    for name, (other, value) in _read_with(node, path).items():
        holder = _holder(node, name)
        if holder and _holder(node, other) and not _fits(config, f"{path}.{other}", value):
            del holder[name.rpartition(".")[2]]
            yield f"{path}.{name}"


def _holder(node: dict[str, Any], name: str) -> dict[str, Any] | None:
    """The mapping below a node that has what a dotted name ends in; None where there is none."""
    above, _, last = name.rpartition(".")
    holder = value_at(node, above) if above else node
    return holder if isinstance(holder, dict) and last in holder else None


def _fits(config: Any, key: str, value: Any) -> bool:
    try:
        setting = OmegaConf.select(config, key)
    except InterpolationToMissingValueError:  # an artifact that is not made yet
        return value is bool
    return bool(setting) if value is bool else setting == value


def _read_with(node: Mapping[str, Any], path: str) -> ReadWith:
    if path == "evaluation.groups":
        return Groups.READ_WITH
    target = str(node.get("_target_"))
    return getattr(get_object(target), "READ_WITH", {}) if target.startswith("sage_pl.") else {}


def _node(raw: Mapping[str, Any], path: str) -> Any:
    """The node at a dotted key, or the reference that stands on the way to it."""
    names = path.split(".")
    for end in range(1, len(names)):
        if isinstance(node := value_at(raw, ".".join(names[:end])), str):
            return node
    return value_at(raw, path)


def _touches(key: str, path: str) -> bool:
    """Whether one of two dotted keys is the other or lies below it."""
    return is_below(key, path) or is_below(path, key)


def is_below(key: str, path: str) -> bool:
    """Whether a dotted key is ``path`` or lies below it."""
    return f"{key}.".startswith(f"{path}.")


def idle_without(plan: Plan, overrides: Iterable[str]) -> list[str]:
    """``["without=PART"]`` where the run of a command is the same with that part, as one that another choice left out already.

    The command's configuration is composed again with ``without=nothing``. Where that fails, as for a setting of what stands in
    the part's place, the choice has an effect.

    >>> # method=llmemb embedder=minilm without=llmemb/scft  →  ["without=llmemb/scft"]
    """
    overrides = list(overrides)
    given = [override for override in overrides if override.startswith("without=")]
    if not given or given[-1] == _WITH_ALL or not GlobalHydra.instance().is_initialized():
        return []
    rest = [override for override in overrides if override not in given]
    name = HydraConfig.get().job.config_name if HydraConfig.initialized() else "train"
    try:
        other = make_plan(recipe_of(compose(name, overrides=[*rest, _WITH_ALL])))
    except (HydraException, OmegaConfBaseException, UserError):
        return []
    return given[-1:] if _what_runs(other) == _what_runs(plan) else []


def _what_runs(plan: Plan) -> tuple[dict[str, Any], dict[str, Any]]:
    """The configurations of a run and its stages, without names and without steps that are not prepared."""
    config: Any = OmegaConf.to_container(plan.config, resolve=False)
    steps = {name: config["steps"][name] for name in plan.steps if name in config["steps"]}
    stages = {name: _what_runs(stage) for name, stage in plan.stages.items()}
    return {**config, "choices": None, "stages": None, "steps": steps}, stages
