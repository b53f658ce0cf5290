"""From a configuration to the artifacts it needs: what is missing is made, the rest is opened."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf

from sage_pl.artifacts.store import Artifact, Step, Store, build, closure
from sage_pl.runs.checks import check_missing, check_targets, enter_artifacts

log = logging.getLogger(__name__)


def prepare(config: DictConfig, wanted: Iterable[str], stages: Mapping[str, Step] | None = None) -> dict[str, Artifact]:
    """Make the wanted artifacts and all they depend on, and enter their paths and the catalogue's sizes in the config.

    Args:
        config: the composed configuration; ``artifacts`` and ``catalog`` are filled in.
        wanted: names of steps, e.g. ``["candidates", "cluster"]``; ``sequences`` is always made.
        stages: preceding runs (:mod:`sage_pl.runs.stages`), by name.
    """
    check_missing(config)
    plain: Any = OmegaConf.to_container(config.steps, resolve=True)
    check_targets({"steps": plain})
    stages = stages or {}
    inputs = {name: _inputs(node) for name, node in plain.items()} | {name: s.inputs for name, s in stages.items()}
    needed = closure(inputs, ["sequences", *wanted])
    check_missing(config, needed)
    steps = {name: stages.get(name) or instantiate(plain[name], _convert_="all") for name in needed}
    threads = torch.get_num_threads()
    made = build(steps, needed, Store(config.paths.artifacts))
    torch.set_num_threads(threads)  # UMAP sets OpenMP's, which torch shares, to the number of cores
    enter_artifacts(config, made)
    log.info("%s: %d users, %d items", config.dataset.name, config.catalog.n_users, config.catalog.n_items)
    return made


def _inputs(node: Mapping[str, Any]) -> tuple[str, ...]:
    """The steps that a step reads; one that leaves them to its settings has to be built to be asked."""
    step: Any = get_class(node["_target_"])
    return step.inputs if isinstance(step.inputs, tuple) else instantiate(node, _convert_="all").inputs
