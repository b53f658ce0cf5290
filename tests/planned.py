"""Plans and prepared configurations outside a command, made by the same functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from sage_pl.commands.door import config_dir
from sage_pl.runs.checks import refuse, target_problems
from sage_pl.runs.plan import Plan, fill_in_artifacts, make_plan, recipe_of
from sage_pl.runs.preparation import prepare

WITHOUT_HYDRA = ("run_dir=somewhere", "choices={}")  # values that Hydra fills in where a command runs


def composed(*overrides: str, name: str = "train") -> DictConfig:
    """The configuration of a command."""
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        return compose(name, overrides=[*WITHOUT_HYDRA, *overrides])


def check_targets(config: Mapping[str, Any]) -> None:
    """Raise one error for every ``_target_`` that is not allowed or cannot be called."""
    refuse(target_problems(config))


def planned(*overrides: str, wanted: Iterable[str] | None = None) -> Plan:
    """The plan of ``train.py`` with these overrides."""
    return make_plan(recipe_of(composed(*overrides)), wanted=wanted)


def prepared(plan: Plan) -> DictConfig:
    """The plan's configuration, its artifacts made and filled in."""
    return fill_in_artifacts(plan.config, prepare(plan))
