"""Parts of a configuration that have no effect in a run, and a copy without them."""

from __future__ import annotations

from typing import Any

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from sage_pl.runs import checks
from sage_pl.runs.checks import ConfigError

_NAMED_PARTS = ("loss.terms", "start", "item_encoder.experts", "sequence_encoder.experts", "callbacks", "logger")


def drop_idle_parts(config: DictConfig) -> tuple[DictConfig, tuple[str, ...]]:
    """A copy without named parts set to null, terms of weight 0, settings of an absent scorer, and batch extras that no term
    needs.

    Returns:
        The copy, and the dotted names of what it lacks.

    Raises:
        ConfigError: a weight is set for a term that does not exist.
    """
    lean, dropped = editable(config), []
    for path in _NAMED_PARTS:
        parts: Any = OmegaConf.select(lean, path)
        for name in [name for name, part in (parts or {}).items() if part is None]:
            del parts[name]
            dropped.append(f"{path}.{name}")
    if lean.get("scorer") is not None and "_target_" not in lean.scorer:
        dropped += [f"scorer.{name}" for name in lean.scorer]
        lean.scorer = None
    terms = lean.loss.terms
    complete = [str(name) for name, term in terms.items() if "_target_" in term]
    for name in terms.keys() - set(complete):
        raise ConfigError(
            f"loss.terms.{name} has a weight, but there is no such term; there are: {', '.join(complete) or 'none'}"
        )
    for name in [name for name, term in terms.items() if term.weight == 0]:
        del terms[name]
        dropped.append(f"loss.terms.{name}")
    needed = frozenset[str]().union(*(_attribute(term, "needs") for term in terms.values()))
    extras = lean.data.extras
    for name in [name for name, extra in extras.items() if not _attribute(extra, "provides") & needed]:
        del extras[name]
        dropped.append(f"data.extras.{name}")
    return lean, tuple(dropped)


def _attribute(node: DictConfig, name: str) -> frozenset[str]:
    """An attribute of the class that a node names, after its check."""
    plain: Any = OmegaConf.to_container(node, resolve=False)
    problem = checks.target_problem("loss.terms", plain, checks.own_packages())
    if problem and "_target_" in problem:
        raise ConfigError(problem)
    part = get_object(node._target_)
    if not hasattr(part, name):
        raise ConfigError(f"{node._target_} is no part that has {name}; it cannot stand there")
    return getattr(part, name)


def editable(config: DictConfig) -> DictConfig:
    copy = config.copy()
    OmegaConf.set_readonly(copy, False)
    OmegaConf.set_struct(copy, False)
    return copy
