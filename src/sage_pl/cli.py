"""The stories of the commands, each readable from top to bottom: train, evaluate, prepare."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from sage_pl import config as checks
from sage_pl.artifacts import Artifact
from sage_pl.data import handled
from sage_pl.data.datamodule import SequenceDataModule
from sage_pl.data.targets import NextItem
from sage_pl.evaluation.callback import RankingEvaluation
from sage_pl.evaluation.groups import Groups
from sage_pl.evaluation.results import floor_metrics, write_results
from sage_pl.evaluation.table import results_table, select
from sage_pl.models.sequential import SequentialRecommender
from sage_pl.preparation import prepare

log = logging.getLogger(__name__)
PARTS = ("model", "data")


class Interrupted(SystemExit):
    """Ctrl-C; what was learned is saved."""


def train(config: DictConfig) -> dict[str, float]:
    """Prepare what is missing, train, test the best checkpoint and write the run's folder.

    Returns:
        The metrics, as in ``metrics.json``.

    Raises:
        ConfigError: the configuration cannot be run.
        SystemExit: with code 130 after Ctrl-C.
    """
    folder = Path(HydraConfig.get().runtime.output_dir)
    _quiet_libraries()
    _leave_out_idle_parts(config)
    checks.check_targets(checks.rehearsal(config, (*PARTS, "steps", "callbacks", "trainer", "logger")))
    checks.make_paths_absolute(config)
    recipe: Any = OmegaConf.to_container(config, resolve=False)
    artifacts = prepare(config, checks.wanted_artifacts(config, PARTS))
    keys = {name: artifact.key for name, artifact in artifacts.items()}
    resume = None if config.resume is None else _resumable(config.resume, recipe, keys)
    OmegaConf.save(config, folder / "config.yaml", resolve=True)

    pl.seed_everything(config.seed, verbose=False)
    datamodule, model, evaluation = _build(config, {"config": recipe, "artifact_keys": keys})
    callbacks = [*_instances(config.callbacks).values(), evaluation]
    logger = _instance(config.logger)
    logger.log_hyperparams({"config": OmegaConf.to_container(config, resolve=True), "artifact_keys": keys})
    trainer = _instance(config.trainer, callbacks=callbacks, logger=logger, enable_progress_bar=sys.stderr.isatty())
    _describe(model)
    with _ctrl_c_leaves(folder / "checkpoints" / "last.ckpt"):
        trainer.fit(model, datamodule, ckpt_path=resume, weights_only=True)
        best = trainer.checkpoint_callback
        if not best.best_model_path:
            raise checks.ConfigError(
                "no validation ran, so there is no best epoch to test; lower trainer.check_val_every_n_epoch or raise "
                "trainer.max_epochs"
            )
        log.info("best epoch: %s = %.4f", best.monitor, best.best_model_score)
        trainer.test(model, datamodule, ckpt_path=best.best_model_path, verbose=False, weights_only=True)
    metrics = _report(folder, config, datamodule, evaluation, trainer)
    log.info("run folder  %s", folder)
    log.info("metrics     %s", folder / "metrics.json")
    log.info("checkpoint  %s", best.best_model_path)
    return metrics


def evaluate(config: DictConfig) -> dict[str, float]:
    """Test a checkpoint alone: it holds its configuration, and artifacts that are gone are made again."""
    folder = Path(HydraConfig.get().runtime.output_dir)
    _quiet_libraries()
    checkpoint = _existing(config.checkpoint)
    stored = torch.load(checkpoint, map_location="cpu", weights_only=True)["sage_pl"]
    recipe = OmegaConf.create(stored["config"])
    OmegaConf.set_struct(recipe, True)
    try:
        recipe.merge_with(config.overrides)
    except OmegaConfBaseException as error:
        raise checks.ConfigError(f"overrides do not fit the checkpoint's configuration: {error}") from error
    artifacts = prepare(recipe, checks.wanted_artifacts(recipe, PARTS))
    for name, key in stored["artifact_keys"].items():
        if name in artifacts and artifacts[name].key != key:
            log.warning(
                "%s is now %s, the model was trained with %s: data or libraries changed", name, artifacts[name].key, key
            )
    datamodule, model, evaluation = _build(recipe, stored)
    trainer = pl.Trainer(
        accelerator=recipe.trainer.accelerator,
        precision=recipe.trainer.precision,
        devices=1,
        logger=False,
        callbacks=[evaluation],
        enable_model_summary=False,
        default_root_dir=folder,
        enable_progress_bar=sys.stderr.isatty(),
    )
    trainer.test(model, datamodule, ckpt_path=checkpoint, verbose=False, weights_only=True)
    metrics = _report(folder, recipe, datamodule, evaluation, trainer)
    log.info("metrics     %s", folder / "metrics.json")
    return metrics


def prepare_only(config: DictConfig) -> None:
    """Make the wanted artifacts and say where they are."""
    _quiet_libraries()
    for name, artifact in prepare(config, config.wanted).items():
        log.info("%-10s %s", name, artifact.path)


def export_handled(config: DictConfig) -> None:
    """Write a data set and its artifacts as the reference's ``handled/`` folder."""
    _quiet_libraries()
    artifacts = prepare(config, ["embed", "reduce", "cluster", "profile", "retrieve"])
    handled.export_handled(config.folder, artifacts)
    log.info("written to %s", config.folder)


def _leave_out_idle_parts(config: DictConfig) -> None:
    for name in checks.prune(config):
        log.info("%s has no effect in this run and is left out", name)
    if unused := checks.unused_weights(config):
        log.info("no loss term of this run reads %s", ", ".join(f"loss.{key}" for key in unused))


def _build(
    config: DictConfig, stored: dict[str, Any]
) -> tuple[SequenceDataModule, SequentialRecommender, RankingEvaluation]:
    """Data, model and evaluation of a prepared configuration; ``stored`` goes into the checkpoint."""
    plain: Any = {part: OmegaConf.to_container(config[part], resolve=True) for part in PARTS}
    checks.check_targets(plain)
    torch.set_float32_matmul_precision(config.matmul_precision)
    datamodule = instantiate(plain["data"], _convert_="all")
    model = instantiate(plain["model"], _convert_="all")
    model.stored = stored
    checks.check_needs(model.needs, datamodule.provides)
    rules: Any = OmegaConf.to_container(config.evaluation.groups, resolve=True)
    splits = {name: getattr(datamodule.sequences, name) for name in ("valid", "test")}
    groups = {name: Groups(datamodule.sequences, cases, **rules) for name, cases in splits.items()}
    return datamodule, model, RankingEvaluation(groups, list(config.evaluation.ks))


def _instance(node: DictConfig, **more: Any) -> Any:
    plain: Any = OmegaConf.to_container(node, resolve=True)
    checks.check_targets({str(node._key()): plain})
    try:
        return instantiate(plain, _convert_="all", **more)
    except ModuleNotFoundError as error:
        raise checks.ConfigError(
            f"{plain['_target_']} needs the package {error.name}: pip install {error.name}, or choose another option"
        ) from error


def _instances(node: DictConfig) -> dict[str, Any]:
    return {str(name): _instance(child) for name, child in node.items()}


def _report(
    folder: Path, config: DictConfig, datamodule: SequenceDataModule, evaluation: RankingEvaluation, trainer: pl.Trainer
) -> dict[str, float]:
    """Write metrics and ranks, print them beside the popularity floor."""
    data, cases = datamodule.sequences, datamodule.sequences.test
    floor = floor_metrics(
        data, cases, evaluation.groups["test"], datamodule.candidates["test"], evaluation.ks, datamodule.mask_seen
    )
    tested = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("test/")}
    metrics = tested | floor
    artifact = Artifact.at(config.artifacts.sequences)
    write_results(folder, metrics, cases, evaluation.test_ranks, artifact.frame("users"), artifact.frame("items"))
    rows = {"popularity": select(metrics, "floor/popularity"), "this run": select(metrics, "test")}
    for protocol in evaluation.test_ranks:
        Console().print(results_table(rows, protocol))
    return metrics


def _describe(model: SequentialRecommender) -> None:
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    frozen = sum(b.numel() for b in model.buffers())
    weights = ", ".join(f"{name} {term.weight:g}" for name, term in model.terms.items())
    log.info("parameters: %s trainable, %s constant; losses: %s", f"{trainable:,}", f"{frozen:,}", weights)
    backbone = getattr(model.sequence_encoder, "backbone", None)
    if isinstance(model.targets, NextItem) and not getattr(backbone, "causal", True):
        log.warning("the backbone sees the items it is trained to predict (causal=false with targets=next_item)")


def _existing(path: str) -> str:
    if not Path(path).is_file():
        raise checks.ConfigError(f"there is no checkpoint {path}; runs keep theirs in outputs/runs/.../checkpoints/")
    return str(path)


def _resumable(path: str, recipe: dict[str, Any], keys: dict[str, str]) -> str:
    """A checkpoint that continues this very run: same artifacts, and every other difference is named in the log."""
    stored = torch.load(_existing(path), map_location="cpu", weights_only=True)["sage_pl"]
    if other := [name for name, key in keys.items() if stored["artifact_keys"].get(name, key) != key]:
        raise checks.ConfigError(
            f"{path} was trained with another {', '.join(other)}; resume with its own data settings"
        )
    for difference in checks.differences(stored["config"], recipe):
        log.warning("resuming with a change: %s", difference)
    return path


@contextmanager
def _ctrl_c_leaves(last: Path) -> Iterator[None]:
    """Say where to go on after Ctrl-C, which Lightning answers with SystemExit."""
    try:
        yield
    except (SystemExit, KeyboardInterrupt):
        if last.is_file():
            log.warning("interrupted; go on from the last finished epoch with resume=%s", last)
        else:
            log.warning("interrupted before the first epoch ended; nothing was learned yet")
        raise Interrupted(130) from None


def _quiet_libraries() -> None:
    """Leave the terminal to what the user asked for."""
    for name in ("pytorch_lightning", "lightning", "lightning_fabric", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for text in (
        ".*does not have many workers.*",
        ".*`max_epochs` was not set.*",
        ".*directory .* exists and is not empty.*",
        ".*LeafSpec.*",
        ".*callbacks used to create the checkpoint.*",
        ".*dirpath has changed.*",
        ".*smaller than the logging interval.*",
    ):
        warnings.filterwarnings("ignore", text)
