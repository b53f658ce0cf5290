"""One run: the parts of a prepared configuration built, trained, tested at their best epoch, and the results written."""

from __future__ import annotations

import functools
import json
import logging
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.loggers import Logger
from rich.console import Console

from sage_pl.artifacts.checkpoints import WholeCheckpoints
from sage_pl.artifacts.files import whole_file, write_text
from sage_pl.artifacts.store import Artifact
from sage_pl.comparison.cells import UNCONVERGED
from sage_pl.data.datamodule import SequenceDataModule
from sage_pl.data.mapped import in_words, mapped_counts
from sage_pl.data.targets import NextItem
from sage_pl.errors import SettingError, UserError, machine_problem
from sage_pl.evaluation.floors import best_floor, label, standing
from sage_pl.evaluation.groups import Groups, days
from sage_pl.evaluation.lists import word_vectors
from sage_pl.evaluation.results import cases_frame, write_results
from sage_pl.evaluation.table import results_table, select
from sage_pl.nn.modules.base import RecommenderModule
from sage_pl.runs import checks
from sage_pl.runs.construct import construct
from sage_pl.runs.floors import floors_of
from sage_pl.runs.folders import CHECKPOINTS, METRICS, TABLE, clear_run, continues_in
from sage_pl.runs.plan import PARTS, filled_artifacts
from sage_pl.runs.recorded import recorded, save
from sage_pl.runs.scoring import carry_weights, choose_for
from sage_pl.semantic.texts import text_columns
from sage_pl.training.callbacks.ended_early import EndedEarly, ended_early
from sage_pl.training.callbacks.pruning import Pruning
from sage_pl.training.callbacks.ranking_evaluation import RankingEvaluation
from sage_pl.training.callbacks.recommended import RecommendedLists

log = logging.getLogger(__name__)
_WIDTH = 100  # of lines where there is no terminal
TERMS = "term_modules."  # losses' own parameters, which only training needs


class Parts(NamedTuple):
    """The parts that evaluation and serving need."""

    datamodule: SequenceDataModule
    model: RecommenderModule
    evaluation: RankingEvaluation


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


def build_parts(config: DictConfig, stored: dict[str, Any]) -> Parts:
    """Data, model and evaluation of a configuration whose artifacts are filled in; ``stored`` goes into the checkpoint.

    Raises:
        ConfigError: the parts do not fit each other.
    """
    plain: Any = {part: OmegaConf.to_container(config[part], resolve=True) for part in PARTS}
    torch.set_float32_matmul_precision(config.matmul_precision)
    torch.backends.cuda.enable_cudnn_sdp(False)  # makes a plan for every new length, which takes longer than many steps
    datamodule, model = construct("data", plain["data"]), construct("model", plain["model"])
    model.stored = stored
    checks.check_needs(model.needs, datamodule.provides)
    rules: Any = OmegaConf.to_container(config.evaluation.groups, resolve=True)
    rules["days"] = days(Artifact.at(config.artifacts.sequences))
    splits = {name: getattr(datamodule.sequences, name) for name in ("valid", "test")}
    groups = {name: Groups(datamodule.sequences, cases, **rules) for name, cases in splits.items()}
    return Parts(datamodule, model, RankingEvaluation(groups, list(config.evaluation.ks)))


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
    clear_run(folder, config.resume)
    _carry_table(folder, config.resume)
    save(config, folder / "config.yaml")
    pl.seed_everything(config.seed, verbose=False)
    parts = build_parts(config, stored)
    lists = _lists(config, parts)
    callbacks = [*(_instance(node) for node in config.callbacks.values()), EndedEarly(), parts.evaluation, lists]
    unvalidated = {}
    if config.get("refit") is None:
        parts.evaluation.floors = floors_of(config, parts.datamodule, stored["artifact_keys"])
    else:
        callbacks = [callback for callback in callbacks if not _waits_for_validation(callback)]
        unvalidated = {"limit_val_batches": 0}
    for logger in loggers:
        logger.log_hyperparams({**recorded(config), "artifact_keys": stored["artifact_keys"]})
    trainer = _instance(config.trainer, callbacks=callbacks, logger=loggers, **unvalidated)
    trainer.strategy.checkpoint_io = WholeCheckpoints()
    _describe(parts.model, trainer)
    return Run(config, parts, lists, loggers, trainer)


def fit(run: Run) -> Results:
    """Train, choose the scorer's weights, test the best checkpoint and write the folder: checkpoints, metrics, ranks.

    A refit is not tested: its result are the weights of its last epoch (:mod:`sage_pl.runs.refitting`).

    Raises:
        ConfigError: no validation ran.
        SettingError: the model diverged.
    """
    config, trainer, (datamodule, model, _) = run.config, run.trainer, run.parts
    if not continues_in(Path(config.run_dir), config.resume):  # of an earlier run, whose epochs are no part of this one
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
    choose_for(run.parts, best, trainer.strategy.root_device)
    trainer.test(model, datamodule, ckpt_path=str(best), verbose=False, weights_only=True)
    return Results(
        _write(Path(run.config.run_dir), run.config, run.parts, run.lists, trainer, ended), model.eval(), best
    )


def _refitted(run: Run, last: Path) -> Results:
    """The last epoch as ``refit.ckpt``, which marks a refit that came to its end, with the metrics of the run it repeats.

    The scorer's weights are those of that run, as nothing is held out to choose them.
    """
    config, model = run.config, run.parts.model
    folder, repeats = Path(config.run_dir), Path(config.refit)
    carry_weights(model, repeats / CHECKPOINTS / "best.ckpt", last)
    if bad := [name for name, value in model.state_dict().items() if not value.isfinite().all()]:
        raise SettingError(f"weights are not finite: {', '.join(bad[:3])}; the model diverged, nothing was written")
    final = folder / CHECKPOINTS / "refit.ckpt"
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

    Raises:
        ConfigError, LoggerError: with what is missing.
    """
    return [_instance(node) for node in config.logger.values()]


def test(
    config: DictConfig,
    parts: Parts,
    folder: Path,
    cache: str | Path | None,
    ended: Mapping[str, float] = MappingProxyType({}),  # noqa: PT028 - no test of pytest
) -> dict[str, float]:
    """Test a trained model, and write metrics and ranks into ``folder``.

    Args:
        config: prepared.
        parts: of it, the model trained.
        folder: of the results.
        cache: where missing floors are made; None: the run's.
        ended: of the training, see :func:`_end`.
    """
    datamodule, model, evaluation = parts
    evaluation.floors = floors_of(config, datamodule, model.stored["artifact_keys"], cache)
    lists = _lists(config, parts)
    trainer = pl.Trainer(
        accelerator=config.trainer.accelerator,
        precision=config.trainer.precision,
        devices=1,
        logger=False,
        callbacks=[evaluation, lists],
        enable_model_summary=False,
        default_root_dir=folder,
        enable_progress_bar=sys.stderr.isatty(),
    )
    trainer.test(model, datamodule, verbose=False)
    return _write(folder, config, parts, lists, trainer, ended)


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


def _lists(config: DictConfig, parts: Parts) -> RecommendedLists:
    data, groups = parts.datamodule, parts.evaluation.groups["test"]
    items = Artifact.at(config.artifacts.sequences).frame("items")
    prompt = text_columns(items) if config.dataset.prompt is None else config.dataset.prompt
    words = word_vectors(items, [name for name in prompt if name in items.columns])
    return RecommendedLists(data.sequences, groups.tail_items, words, data.mask_seen)


def _write(
    folder: Path,
    config: DictConfig,
    parts: Parts,
    lists: RecommendedLists,
    trainer: pl.Trainer,
    ended: Mapping[str, float],
) -> dict[str, float]:
    """Write metrics, ranks and recommended lists, print them beside the best floor of the cases that were ranked.

    ``ended``: see :func:`_end`; {} where it is not known.
    """
    datamodule, _, evaluation = parts
    cases, facts = datamodule.sequences.test, evaluation.groups["test"].facts
    tested = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("test/")}
    metrics = tested | evaluation.floor_metrics("test") | dict(ended)
    artifact = Artifact.at(config.artifacts.sequences)
    if counts := mapped_counts(artifact):
        metrics |= {"data/current": 1.0, **{f"data/{name}": float(count) for name, count in counts.items()}}
        log.warning("these are results on other data than the model was trained with: %s", in_words(counts))
    ids = artifact.frame("users"), artifact.frame("items")
    frame = cases_frame(cases, evaluation.test_ranks, evaluation.floors["test"], facts, *ids)
    write_results(folder, metrics, frame, lists.lists)
    name = "this run" if metrics.get("converged", 1) else f"this run {UNCONVERGED}"
    console = Console() if sys.stdout.isatty() else Console(width=_WIDTH)
    for protocol in evaluation.test_ranks:
        floor = best_floor(metrics, protocol)
        rows = {label(floor): select(metrics, f"floor/{floor}"), name: select(metrics, "test")}
        console.print(results_table(rows, protocol))
        console.print(standing(metrics, protocol))
    if name != "this run":
        console.print(f"{UNCONVERGED} not converged: the best epoch is the last")
    of_lists = select(metrics, "test/lists")
    log.info("recommended: %s", ", ".join(f"{name} {value:.3f}" for name, value in of_lists.items()))
    return metrics


def _waits_for_validation(callback: pl.Callback) -> bool:
    """Whether a callback ends a run or chooses an epoch by a validation."""
    chooses = isinstance(callback, ModelCheckpoint) and callback.monitor is not None
    return chooses or isinstance(callback, EarlyStopping | Pruning)


def _describe(model: RecommenderModule, trainer: pl.Trainer) -> None:
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    frozen = sum(b.numel() for b in model.buffers())
    weights = ", ".join(f"{name} {term.weight:g}" for name, term in model.terms.items())
    device = f"{trainer.strategy.root_device}, {torch.get_num_threads()} threads"
    log.info(
        "parameters: %s trainable, %s constant; losses: %s; on %s", f"{trainable:,}", f"{frozen:,}", weights, device
    )
    backbone = getattr(model.sequence_encoder, "backbone", None)
    if type(model.targets) is NextItem and not getattr(backbone, "causal", True):
        log.warning("the backbone sees the items it is trained to predict (causal=false with targets=next_item)")
