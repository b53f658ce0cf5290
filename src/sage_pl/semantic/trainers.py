"""Lightning trainers of the steps that train a network: one device, a table of losses, a checkpoint to resume from."""

from __future__ import annotations

import logging
import math
import shutil
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger, Logger

from sage_pl.artifacts.checkpoints import WholeCheckpoints
from sage_pl.artifacts.files import whole_lines
from sage_pl.errors import SettingError

log = logging.getLogger(__name__)
FIRST = 10  # batches by which the time of a training is estimated

LAST = "last"  # name of the checkpoint
METRICS = "metrics.csv"


def trainer_settings(**changes: Any) -> partial[Trainer]:
    """``pytorch_lightning.Trainer`` with the defaults of a step's trainer and these changes."""
    length: dict[str, Any] = {"max_epochs": 1, "max_steps": -1, "log_every_n_steps": 1}
    numbers = {"precision": "32-true", "accumulate_grad_batches": 1, "gradient_clip_val": None}
    return partial(Trainer, **length | numbers | changes)


def make_trainer(settings: partial[Trainer], folder: Path | None, **when: Any) -> Trainer:
    """The trainer of a step.

    Args:
        settings: ``pytorch_lightning.Trainer`` and its arguments; its loggers and callbacks join those of the step.
        folder: for the checkpoint and the table of losses; None writes neither.
        when: to write the checkpoint, as arguments of ``ModelCheckpoint``.

    Raises:
        ValueError: the settings name more than one device.
    """
    loggers, callbacks = _listed(settings.keywords.get("logger")), _listed(settings.keywords.get("callbacks"))
    if folder is not None:
        part = f"part{len(list(folder.glob('part*'))):03d}"  # CSVLogger empties a folder that exists
        loggers.append(CSVLogger(folder, name="", version=part))
        callbacks.append(ModelCheckpoint(folder, LAST, enable_version_counter=False, **when))
    callbacks.append(_Estimate())
    trainer = settings(
        logger=loggers,
        callbacks=callbacks,
        enable_checkpointing=folder is not None,
        enable_model_summary=False,
        enable_progress_bar=settings.keywords.get("enable_progress_bar", sys.stderr.isatty()),
        default_root_dir=folder,
    )
    if trainer.world_size != 1:
        raise SettingError(f"the trainer of a step has {trainer.world_size} devices, wanted one; set its devices=1")
    trainer.strategy.checkpoint_io = WholeCheckpoints()
    return trainer


def fit(trainer: Trainer, module: LightningModule, batches: Any) -> None:
    """Train, from the checkpoint in the trainer's folder where there is one."""
    file = Path(trainer.default_root_dir, f"{LAST}.ckpt")
    resumed = trainer.checkpoint_callback is not None and file.is_file()
    if resumed:
        log.info("continues from %s", file)
    trainer.fit(module, batches, ckpt_path=file if resumed else None, weights_only=True)


def planned_steps(trainer: Trainer, n_batches: int) -> int:
    """Optimiser steps of the whole training, with ``n_batches`` in an epoch.

    ``Trainer.estimated_stepping_batches`` sets the batches up before their state is restored, which breaks resuming.

    Raises:
        ValueError: neither epochs nor steps are limited.
    """
    by_epochs = math.ceil(n_batches / trainer.accumulate_grad_batches) * (trainer.max_epochs or 0)
    limits = [limit for limit in (trainer.max_steps, by_epochs) if limit >= 0]
    if not limits:
        raise SettingError("the trainer of a step has max_epochs=-1 and max_steps=-1; limit one of them")
    return min(limits)


def finish(folder: Path, out: Path) -> None:
    """Write ``metrics.csv`` into ``out`` and delete the trainer's folder.

    Each part of an interrupted training has a table of its own there; of a step in two tables, the later row counts.
    """
    tables = [
        pl.read_csv(whole_lines(file), infer_schema_length=None) for file in sorted(folder.glob(f"part*/{METRICS}"))
    ]
    if tables:
        rows = pl.concat(tables, how="diagonal_relaxed")
        rows.unique("step", keep="last", maintain_order=True).write_csv(out / METRICS)
    shutil.rmtree(folder, ignore_errors=True)


class _Estimate(Callback):
    """Logs once how long a training takes, by its first batches; the very first is left out, as it is slower."""

    LEAST = 5.0  # seconds, below which nothing is logged

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        done = self._done = getattr(self, "_done", -1) + 1
        if done == 0:
            self._start = time.perf_counter()
        elif done == FIRST:
            steps = planned_steps(trainer, int(trainer.num_training_batches)) - trainer.global_step
            seconds = (time.perf_counter() - self._start) / done * steps * trainer.accumulate_grad_batches
            if seconds > self.LEAST:
                log.info("about %.1f min left, by the first %d batches", seconds / 60, done)


def _listed(value: Any) -> list[Any]:
    return [value] if isinstance(value, Logger | Callback) else list(value or [])
