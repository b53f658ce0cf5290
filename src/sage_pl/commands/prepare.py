"""The commands prepare and export_handled: a data set's artifacts alone, and the reference's form of them."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from omegaconf import DictConfig

from sage_pl.commands import following
from sage_pl.commands.quiet import quiet_libraries
from sage_pl.reference.export import export_handled as write_handled
from sage_pl.runs import checks, preparation, requirements
from sage_pl.runs.plan import Plan, make_plan, recipe_of
from sage_pl.runs.typed import typed_overrides
from sage_pl.runs.unread import unread

log = logging.getLogger(__name__)
_HANDLED = ("embed", "reduce", "cluster", "profile", "retrieve")


def prepare(config: DictConfig) -> None:
    """Make the artifacts that ``config.wanted`` names and log where they are.

    Raises:
        ConfigError: the configuration cannot be run.
    """
    quiet_libraries()
    wanted = [config.wanted] if isinstance(config.wanted, str) else config.wanted
    for name, artifact in preparation.prepare(_plan(config, wanted)).items():
        log.info("%-10s %s", name, artifact.path)
    log.info("next       %s", following.training(typed_overrides()))


def export_handled(config: DictConfig) -> None:
    """Write a data set and its artifacts into ``config.folder`` as the reference's ``handled/`` folder.

    Raises:
        ConfigError: the configuration cannot be run.
    """
    checks.check_given(config, "folder")
    quiet_libraries()
    write_handled(config.folder, preparation.prepare(_plan(config, _HANDLED)))
    log.info("written to %s", config.folder)


def _plan(config: DictConfig, wanted: Iterable[str]) -> Plan:
    recipe = recipe_of(config)
    with requirements.and_missing_data(recipe):
        plan = make_plan(recipe, wanted=wanted)
    requirements.check_steps(plan)
    if names := unread(plan, typed_overrides(), trains=False):
        log.warning("nothing that is prepared here reads %s", ", ".join(names))
    return plan
