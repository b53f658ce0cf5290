"""Runs that a run builds upon: the teacher of an alignment, the phases of a staged method.

``stages.<name>`` in a configuration says in which parts a preceding run differs from the run itself. The preceding run is a
step like any other: where some part reads ``${artifacts.<name>}``, it is looked up by all that decides its result, and
made if it is missing.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
from omegaconf import DictConfig, OmegaConf, open_dict

from sage_pl.artifacts.files import unfinished
from sage_pl.artifacts.identity import decides
from sage_pl.artifacts.store import Artifact
from sage_pl.runs import checks
from sage_pl.runs import fit as runs

log = logging.getLogger(__name__)

_HISTORY, _EARLIER = "metrics.csv", "metrics.earlier.csv"


@dataclass(frozen=True)
class Stage:
    """A preceding run as a step: trained, tested, and kept with its item table.

    Args:
        name: key under ``stages`` and ``artifacts``.
        inputs: artifacts its parts read.
        recipe: all that decides its result, beside those.
        config: the whole configuration of the run.

    Writes:
        ``best.ckpt``, ``item_table.npy`` float32 [R, E] (every item's scored vector), and the files of any run:
        ``config.yaml``, ``metrics.csv`` (losses and spectra by epoch), ``train.log``, ``metrics.json``, ``ranks.parquet`` and
        so on. What loggers write into folders of their own is not kept.

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
        keys = {name: artifact.key for name, artifact in inputs.items()}
        if config.resume:
            _gather_history(folder)
        with _logged_to(folder / "train.log"):
            log.info("stage %s: %s", self.name, f"goes on from {last}" if config.resume else "a run of its own")
            done = runs.fit(config, {"config": recipe, "artifact_keys": keys}, config.resume)
        _gather_history(folder)
        if (folder / _EARLIER).is_file():
            (folder / _EARLIER).rename(folder / _HISTORY)
        np.save(out / "item_table.npy", done.model.output_table()[:].cpu().numpy())
        shutil.move(done.checkpoint, out / "best.ckpt")
        for file in folder.iterdir():
            if file.is_file():
                shutil.move(file, out / file.name)
        shutil.rmtree(folder)


@contextmanager
def _logged_to(file: Path) -> Iterator[None]:
    """Add what is logged to the file, beside wherever else it goes."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(file)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logging.root.addHandler(handler)
    try:
        yield
    finally:
        logging.root.removeHandler(handler)
        handler.close()


def _gather_history(folder: Path) -> None:
    """Move the rows of ``metrics.csv``, which a run that goes on begins anew, behind those of its earlier parts."""
    files = [file for name in (_EARLIER, _HISTORY) if (file := folder / name).is_file()]
    if files:
        parts = [pl.read_csv(file, infer_schema_length=None) for file in files]
        pl.concat(parts, how="diagonal_relaxed").write_csv(folder / _EARLIER)
        (folder / _HISTORY).unlink(missing_ok=True)


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
