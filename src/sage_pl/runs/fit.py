"""One run: the parts of a prepared configuration built, trained, tested at their best epoch, and the results written."""

from __future__ import annotations

import functools
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.loggers import Logger

from sage_pl import processes
from sage_pl.artifacts.checkpoints import WholeCheckpoints
from sage_pl.artifacts.files import whole_file, write_text
from sage_pl.data.targets import NextItem
from sage_pl.errors import SettingError, UserError, machine_problem
from sage_pl.nn.item_encoders.sharded import shards_of
from sage_pl.nn.modules.base import RecommenderModule
from sage_pl.runs import checks, tested, together
from sage_pl.runs.construct import construct
from sage_pl.runs.floors import floors_of
from sage_pl.runs.folders import CHECKPOINTS, METRICS, TABLE, clear_run, continues_in
from sage_pl.runs.parts import Parts, build_parts
from sage_pl.runs.plan import filled_artifacts
from sage_pl.runs.recorded import recorded, save
from sage_pl.runs.scoring import carry_weights, choose_for
from sage_pl.training.callbacks.ended_early import EndedEarly, ended_early
from sage_pl.training.callbacks.pruning import Pruning
from sage_pl.training.callbacks.recommended import RecommendedLists
from sage_pl.training.loggers.silent import Silent

log = logging.getLogger(__name__)


class Run(NamedTuple):
    """A run that is built and not yet trained.

    Args:
        config: a plan's, with the paths of its artifacts filled in.
        parts: data, model and evaluation.
        lists: the callback that writes recommended lists.
        loggers: of the trainer.
        trainer: with every callback.
    """

    config: DictConfig
    parts: Parts
    lists: RecommendedLists
    loggers: list[Logger]
    trainer: pl.Trainer


class Results(NamedTuple):
    """A run that was trained and tested; the model has the weights of its best epoch."""

    metrics: dict[str, float]
    model: RecommenderModule
    checkpoint: Path


def build(config: DictConfig, stored: dict[str, Any], loggers: list[Logger]) -> Run:
    """The run of a configuration whose artifacts are filled in; its folder is made and ``config.yaml`` written.

    Args:
        config: see :func:`sage_pl.runs.plan.fill_in_artifacts`.
        stored: what checkpoints carry: ``config``, the recipe, and ``artifact_keys``.
        loggers: see :func:`make_loggers`.

    Raises:
        ConfigError: the parts do not fit each other.
    """
    folder = Path(config.run_dir)
    if processes.rank() == 0:
        clear_run(folder, config.resume)
        _carry_table(folder, config.resume)
        save(config, folder / "config.yaml")
    pl.seed_everything(config.seed, verbose=False)
    parts = build_parts(config, stored)
    lists = tested.lists_of(config, parts)
    callbacks = [*(_instance(node) for node in config.callbacks.values()), EndedEarly(), parts.evaluation, lists]
    unvalidated = {}
    if config.get("refit") is None:
        parts.evaluation.floors = floors_of(config, parts.datamodule, stored["artifact_keys"])
    else:
        callbacks = [callback for callback in callbacks if not _waits_for_validation(callback)]
        unvalidated = {"limit_val_batches": 0}
    for logger in loggers:
        logger.log_hyperparams({**recorded(config), "artifact_keys": stored["artifact_keys"]})
    trainer = _instance(config.trainer, callbacks=callbacks, logger=loggers, **unvalidated, **together.strategy())
    trainer.strategy.checkpoint_io = WholeCheckpoints()
    _describe(parts.model, trainer)
    return Run(config, parts, lists, loggers, trainer)


def fit(run: Run) -> Results:
    """Train, choose the scorer's weights, test the best checkpoint and write the folder: checkpoints, metrics, ranks.

    Of processes that train together all take part, and rank 0 writes; the others return no metrics.
    A refit is not tested: its result are the weights of its last epoch (:mod:`sage_pl.runs.refitting`).

    Raises:
        ConfigError: no validation ran.
        SettingError: the model diverged.
    """
    config, trainer, (datamodule, model, _) = run.config, run.trainer, run.parts
    # those of an earlier run, whose epochs are no part of this one
    if processes.rank() == 0 and not continues_in(Path(config.run_dir), config.resume):
        shutil.rmtree(Path(config.run_dir) / CHECKPOINTS, ignore_errors=True)
    if not any(weight.requires_grad for weight in model.parameters()):
        return _untrained(run)
    trainer.fit(model, datamodule, ckpt_path=config.resume, weights_only=True)
    if config.get("refit") is not None:
        last = Path(config.run_dir) / CHECKPOINTS / "last.ckpt"  # absent where the resumed run had ended already
        return _refitted(run, last if last.is_file() else Path(config.resume))
    best: Any = trainer.checkpoint_callback
    if not best.best_model_path:
        raise checks.ConfigError(
            "no validation ran, so there is no best epoch to test; lower trainer.check_val_every_n_epoch or raise "
            "trainer.max_epochs"
        )
    log.info("best epoch: %s = %.4f", best.monitor, best.best_model_score)
    ended = _end(trainer, Path(best.best_model_path))
    if not ended["converged"]:
        log.warning("not converged: the best epoch is the last of %d; raise trainer.max_epochs", ended["epochs"])
    return _tested(run, Path(best.best_model_path), ended)


def _untrained(run: Run) -> Results:
    """A model without weights to train, as a floor is: tested as it is built."""
    log.info("nothing is trained")
    refit = run.config.get("refit") is not None
    checkpoint = Path(run.config.run_dir) / CHECKPOINTS / ("last.ckpt" if refit else "best.ckpt")
    run.trainer.strategy.connect(run.parts.model)
    run.trainer.save_checkpoint(checkpoint, weights_only=True)
    if refit:
        return _refitted(run, checkpoint)
    return _tested(run, checkpoint, {"epochs": 0, "best_epoch": 0, "converged": 1.0})


def _tested(run: Run, best: Path, ended: dict[str, float]) -> Results:
    """The results of a checkpoint, with the scorer's weights chosen for it and stored in it."""
    trainer, (datamodule, model, _) = run.trainer, run.parts
    if processes.rank() == 0:
        choose_for(run.parts, best, trainer.strategy.root_device)
    processes.agreed(None)
    trainer.test(model, datamodule, ckpt_path=str(best), verbose=False, weights_only=True)
    write = tested.write if processes.rank() == 0 else lambda *_: {}
    metrics = write(Path(run.config.run_dir), run.config, run.parts, run.lists, trainer, ended)
    return Results(metrics, model.eval(), best)


def _refitted(run: Run, last: Path) -> Results:
    """The last epoch as ``refit.ckpt``, which marks a refit that came to its end, with the metrics of the run it repeats.

    The scorer's weights are those of that run, as nothing is held out to choose them.
    """
    config, model = run.config, run.parts.model
    folder, repeats = Path(config.run_dir), Path(config.refit)
    final = folder / CHECKPOINTS / "refit.ckpt"
    if processes.rank() > 0:
        return Results({}, model.eval(), final)
    carry_weights(model, repeats / CHECKPOINTS / "best.ckpt", last)
    if bad := [name for name, value in model.state_dict().items() if not value.isfinite().all()]:
        raise SettingError(f"weights are not finite: {', '.join(bad[:3])}; the model diverged, nothing was written")
    with whole_file(final) as part:
        shutil.copyfile(last, part)
    text = (repeats / METRICS).read_text()
    write_text(folder / METRICS, text)
    log.info("trained on all events; nothing is held out to test it, so its metrics are those of %s", repeats)
    return Results(json.loads(text), model.eval(), final)


def _end(trainer: pl.Trainer, best: Path) -> dict[str, float]:
    """How a training ended: ``epochs``, ``best_epoch`` (from 0, as in ``metrics.csv``) and ``converged`` (1 or 0).

    A run is converged if its best epoch lies before the last validated one, or early stopping ended it.
    """
    epochs, every = trainer.current_epoch, trainer.check_val_every_n_epoch or 1
    best_epoch = torch.load(best, map_location="cpu", weights_only=True, mmap=True)["epoch"]
    last_validated = epochs // every * every - 1
    converged = best_epoch < last_validated or any(map(ended_early, trainer.early_stopping_callbacks))
    return {"epochs": epochs, "best_epoch": best_epoch, "converged": float(converged)}


def finish(run: Run, results: Results, report: Callable[[Path], object] | None = None) -> None:
    """After the results are written: the report, then the end of every logger's record. A failure of these is a warning.

    Args:
        run: that was fitted.
        results: of it.
        report: called with the run's folder.
    """
    folder, paths = Path(run.config.run_dir), filled_artifacts(run.config)
    artifacts = {name: Path(path) for name, path in paths.items()}
    if report is not None:
        with processes.alone():
            _or_warn("the report", lambda: report(folder))
    for logger in run.loggers:
        if finish_run := getattr(logger, "finish_run", None):
            _or_warn(type(logger).__name__, functools.partial(finish_run, folder, results.metrics, artifacts))


def _or_warn(name: str, action: Callable[[], object]) -> None:
    try:
        action()
    except Exception as error:
        problem = machine_problem(error)
        bug = problem is None and not isinstance(error, UserError)
        log.warning("%s failed, the results are complete: %s", name, problem or error, exc_info=bug)


def make_loggers(config: DictConfig) -> list[Logger]:
    """All of ``config.logger``; nothing is written yet, but a missing package or login is an error already.

    A process that follows another has loggers that record nothing.

    Raises:
        ConfigError, LoggerError: with what is missing.
    """
    return [_instance(node) if processes.rank() == 0 else Silent() for node in config.logger.values()]


def _carry_table(folder: Path, resume: str | None) -> None:
    """Copy the table of epochs of a run that is continued in a new folder; the run's logger goes on with it."""
    if resume is None or continues_in(folder, resume):
        return
    if (table := Path(resume).parent.parent / TABLE).is_file():
        with whole_file(folder / TABLE) as part:
            shutil.copyfile(table, part)


def _instance(node: DictConfig, **more: Any) -> Any:
    plain: Any = OmegaConf.to_container(node, resolve=True)
    return construct(str(node._key()), plain, **more)


def _waits_for_validation(callback: pl.Callback) -> bool:
    """Whether a callback ends a run or chooses an epoch by a validation."""
    chooses = isinstance(callback, ModelCheckpoint) and callback.monitor is not None
    return chooses or isinstance(callback, EarlyStopping | Pruning)


def _describe(model: RecommenderModule, trainer: pl.Trainer) -> None:
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    trainable += sum(table.elsewhere for table in shards_of(model).values())
    frozen = sum(b.numel() for b in model.buffers())
    weights = ", ".join(f"{name} {term.weight:g}" for name, term in model.terms.items())
    device = f"{trainer.strategy.root_device}, {torch.get_num_threads()} threads"
    log.info(
        "parameters: %s trainable, %s constant; losses: %s; on %s", f"{trainable:,}", f"{frozen:,}", weights, device
    )
    if sees_labels(model):
        log.warning("the backbone sees the items it is trained to predict (causal=false with targets=next_item)")


def sees_labels(model: RecommenderModule) -> bool:
    """Whether a backbone of the model reads the items after a position that is trained to predict the next one."""
    both_ways = any(getattr(part, "causal", True) is False for part in model.sequence_encoder.modules())
    return type(model.targets) is NextItem and both_ways
