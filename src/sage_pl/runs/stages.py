"""Runs that a run builds upon: the teacher of an alignment, the phases of a staged method.

``stages.<name>`` in a configuration holds the parts in which a preceding run differs from the run itself. The preceding run is
a step like any other: where some part reads ``${artifacts.<name>}``, it is looked up by all that decides its result, and made
if it is missing.
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
from omegaconf import DictConfig

from sage_pl import processes
from sage_pl.artifacts.files import unfinished
from sage_pl.artifacts.identity import SOURCES, decisive, is_decisive
from sage_pl.artifacts.store import Artifact
from sage_pl.escaping import LogFormatter
from sage_pl.runs import fit
from sage_pl.runs.folders import CHECKPOINTS
from sage_pl.runs.plan import Plan, fill_in_artifacts, resolve_with_placeholders
from sage_pl.runs.trained_ids import carried

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stage:
    """A preceding run as a step: trained, tested, and kept with its item table.

    Args:
        name: key under ``stages`` and ``artifacts``.
        inputs: artifacts its parts read.
        recipe: all that decides its result, beside those.
        plan: of the run.

    Writes:
        ``best.ckpt``, ``item_table.npy`` float32 [R, E] (every item's scored vector), and the files of any run:
        ``config.yaml``, ``metrics.csv`` (losses and spectra by epoch), ``train.log``, ``metrics.json``, ``ranks.parquet`` and
        so on. What loggers write into folders of their own is not kept.

    An interrupted stage goes on from its last finished epoch. Its files are copied, and removed by the store once the artifact
    is there, so that one which is cut off while it is filed is tested and filed again.
    """

    name: str
    inputs: tuple[str, ...]
    recipe: Mapping[str, Any]
    plan: Plan = field(compare=False)

    version: ClassVar[int] = 1
    joint: ClassVar[bool] = True  # of processes that train together, every one runs it; rank 0 writes
    libraries: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def of(cls, name: str, plan: Plan) -> Stage:
        """The step that makes the run of a plan."""
        return cls(name, tuple(sorted({"sequences", *plan.artifacts})), decisive_settings(plan.config), plan)

    def run(self, inputs: Mapping[str, Artifact], out: Path) -> None:
        folder = unfinished(out)
        last, best = (folder / CHECKPOINTS / f"{name}.ckpt" for name in ("last", "best"))
        resume = str(last) if last.is_file() and best.is_file() else None  # without its best epoch it begins anew
        config = fill_in_artifacts(self.plan.config, inputs, str(folder), resume)
        stored = carried(self.plan.recipe, inputs)
        with _logged_to(folder / "train.log"):
            log.info("stage %s: %s", self.name, f"goes on from {last}" if resume else "a run of its own")
            run = fit.build(config, stored, fit.make_loggers(config))
            results = fit.fit(run)
            if processes.rank() > 0:
                return
            fit.finish(run, results)
        np.save(out / "item_table.npy", results.model.output_table()[:].cpu().numpy())
        shutil.copyfile(results.checkpoint, out / "best.ckpt")
        for file in folder.iterdir():
            if file.is_file() and not file.name.startswith("."):
                shutil.copyfile(file, out / file.name)


def decisive_settings(config: DictConfig) -> dict[str, Any]:
    """:func:`sage_pl.artifacts.identity.decisive` of a plan's configuration, with placeholders for artifacts."""
    parts = [str(key) for key in config if is_decisive(str(key)) and key not in SOURCES]
    return decisive(resolve_with_placeholders(config, parts))


@contextmanager
def _logged_to(file: Path) -> Iterator[None]:
    """Add log lines to the file as well."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(file)
    handler.setFormatter(LogFormatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logging.root.addHandler(handler)
    try:
        yield
    finally:
        logging.root.removeHandler(handler)
        handler.close()
