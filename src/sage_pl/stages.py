"""Runs that a run builds upon: the teacher of an alignment, the phases of a staged method.

``stages.<name>`` in a configuration says in which parts a preceding run differs from the run itself. The preceding run is a
step like any other: where some part reads ``${artifacts.<name>}``, it is looked up by all that decides its result, and
made if it is missing.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from omegaconf import DictConfig, OmegaConf, open_dict

from sage_pl import config as checks
from sage_pl import runs
from sage_pl.artifacts import Artifact, unfinished
from sage_pl.decisive import decides

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stage:
    """A preceding run as a step: trained, tested, and kept with its item table.

    Args:
        name: key under ``stages`` and ``artifacts``.
        inputs: artifacts its parts read.
        recipe: all that decides its result, beside those.
        config: the whole configuration of the run.

    Writes:
        ``best.ckpt``, ``item_table.npy`` float32 [R, E] (every item's scored vector), ``metrics.json``, ``ranks.parquet``,
        ``config.yaml``.

    An interrupted stage goes on from its last finished epoch when it is asked for again.
    """

    name: str
    inputs: tuple[str, ...]
    recipe: Mapping[str, Any]
    config: DictConfig = field(compare=False)

    version: ClassVar[int] = 1
    libraries: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def of(cls, name: str, config: DictConfig) -> Stage:
        """The step that makes the run of ``config``, whose idle parts are left out."""
        settings: Any = OmegaConf.to_container(config, resolve=False)
        everything = checks.flat(
            {
                **checks.rehearsal(config, runs.PARTS),
                **{key: settings[key] for key in ("seed", "matmul_precision", "trainer")},
                "best": [config.callbacks.best.monitor, config.callbacks.best.mode],
                "patience": OmegaConf.to_container(
                    config.callbacks.get("early_stopping") or OmegaConf.create(), resolve=True
                ),
            }
        )
        inputs = {"sequences", *checks.wanted_artifacts(config, runs.PARTS)}
        recipe = {key: value for key, value in everything.items() if decides(key)}
        return cls(name, tuple(sorted(inputs)), recipe, config)

    def run(self, inputs: Mapping[str, Artifact], out: Path) -> None:
        config, folder = self.config.copy(), unfinished(out)
        OmegaConf.set_struct(config, False)
        recipe: Any = OmegaConf.to_container(config, resolve=False)
        config.run_dir = str(folder)
        checks.enter_artifacts(config, inputs)
        last = folder / "checkpoints" / "last.ckpt"
        config.resume = str(last) if last.is_file() else None
        log.info("stage %s: %s", self.name, f"goes on from {last}" if config.resume else "a run of its own")
        keys = {name: artifact.key for name, artifact in inputs.items()}
        done = runs.fit(config, {"config": recipe, "artifact_keys": keys}, config.resume)
        np.save(out / "item_table.npy", done.model.output_table()[:].cpu().numpy())
        shutil.move(done.checkpoint, out / "best.ckpt")
        for name in ("metrics.json", "ranks.parquet", "config.yaml"):
            shutil.move(folder / name, out / name)
        shutil.rmtree(folder)


def stages(config: DictConfig) -> dict[str, Stage]:
    """The preceding runs that a configuration describes, by name; its own idle parts must not be left out yet."""
    return {str(name): Stage.of(str(name), _stage_config(config, str(name))) for name in config.get("stages") or {}}


def _stage_config(config: DictConfig, name: str) -> DictConfig:
    """The configuration with the stage's parts in place of the run's own.

    A stage has the loss terms, warm starts and scorer that it names and no others. What names a ``_target_`` replaces the run's
    part as a whole; other values are merged into it.
    """
    stage = config.copy()
    with open_dict(stage):
        stage.loss.terms, stage.start, stage.scorer = {}, {}, None
        _overlay(stage, config.stages[name])
        stage.stages, stage.role = {}, name
        stage.callbacks.pop("pruning", None)  # a search judges the run itself
    checks.prune(stage)
    return stage


def _overlay(base: DictConfig, over: DictConfig) -> None:
    for key, node in over.items_ex(resolve=False):
        both = isinstance(node, DictConfig) and isinstance(base.get(key), DictConfig)
        if both and "_target_" not in node:
            _overlay(base[key], node)
        else:
            base[key] = node
