"""From a configuration to the artifacts it needs: what is missing is made, the rest is opened."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf, open_dict

from sage_pl.artifacts import Artifact, Store, build, closure
from sage_pl.config import check_missing, check_targets

log = logging.getLogger(__name__)


def prepare(config: DictConfig, wanted: Iterable[str]) -> dict[str, Artifact]:
    """Make the wanted artifacts and all they depend on, and enter their paths and the catalogue's sizes in the config.

    Args:
        config: the composed configuration; ``artifacts`` and ``catalog`` are filled in.
        wanted: names of steps, e.g. ``["candidates", "cluster"]``; ``sequences`` is always made.
    """
    check_missing(config)
    plain: Any = OmegaConf.to_container(config.steps, resolve=True)
    check_targets({"steps": plain})
    classes: dict[str, Any] = {name: get_class(node["_target_"]) for name, node in plain.items()}
    needed = closure({name: step.inputs for name, step in classes.items()}, ["sequences", *wanted])
    check_missing(config, needed)
    steps = {name: instantiate(plain[name], _convert_="all") for name in needed}
    made = build(steps, needed, Store(config.paths.artifacts))
    with open_dict(config):
        for name, artifact in made.items():
            config.artifacts[name] = str(Path(artifact.path).resolve())
        sequences = made["sequences"]
        config.catalog.n_items = sequences.frame("items").height
        config.catalog.n_users = len(sequences.array("train_end")) - 1
    log.info("%s: %d users, %d items", config.dataset.name, config.catalog.n_users, config.catalog.n_items)
    return made
