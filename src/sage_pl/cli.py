"""The stories of the commands, each readable from top to bottom: train, evaluate, recommend, prepare, export."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from sage_pl import hardware, recommending, serving
from sage_pl.reference import export as handled
from sage_pl.report import story
from sage_pl.runs import checks
from sage_pl.runs import fit as runs
from sage_pl.runs.preparation import prepare
from sage_pl.runs.stages import stages

log = logging.getLogger(__name__)


def train(config: DictConfig) -> dict[str, float]:
    """Prepare what is missing, train, test the best checkpoint and write the run's folder.

    Returns:
        The metrics, as in ``metrics.json``.

    Raises:
        ConfigError: the configuration cannot be run.
        SystemExit: with code 130 after Ctrl-C.
    """
    _quiet_libraries()
    hardware.keep_freed_memory()
    checks.refuse_given_artifacts(config)
    checks.make_paths_absolute(config)
    recipe: Any = OmegaConf.to_container(config, resolve=False)
    stored = None if config.resume is None else _checkpoint(config.resume)["sage_pl"]
    first = recipe if stored is None else stored.get("begun_with", stored["config"])  # whose runs this one builds upon
    before = stages(config if stored is None else _recipe(first, {"paths": recipe["paths"]}))
    _leave_out_idle_parts(config)
    for one in (config, *(stage.config for stage in before.values())):
        checks.check_targets(checks.rehearsal(one, (*runs.PARTS, "steps", "callbacks", "trainer", "logger")))
    page = None if config.report is None else story.at_the_end("run", config.report)
    runs.make_loggers(config)  # a missing login ends a run here, and not after hours of preparation
    with _ctrl_c_ends_cleanly(Path(config.run_dir) / "checkpoints" / "last.ckpt"):
        artifacts = prepare(config, checks.wanted_artifacts(config, runs.PARTS), before)
        keys = {name: artifact.key for name, artifact in artifacts.items()}
        for name in sorted(before.keys() - keys.keys()):
            with open_dict(config):
                config.stages.pop(name, None)
            log.info("no part of this run reads artifacts.%s, so stages.%s is left out", name, name)
        if stored is not None:
            _check_resume(stored, recipe, keys)
        done = runs.fit(config, {"config": recipe, "begun_with": first, "artifact_keys": keys}, config.resume, page)
    for name in [name for name in artifacts if name in before]:
        log.info("%-11s %s", f"stage {name}", artifacts[name].path)
    log.info("run folder  %s", config.run_dir)
    log.info("metrics     %s", Path(config.run_dir) / "metrics.json")
    log.info("checkpoint  %s", done.checkpoint)
    return done.metrics


def evaluate(config: DictConfig) -> dict[str, float]:
    """Test a checkpoint alone: it holds its configuration, and artifacts that are gone are made again."""
    checks.check_given(config, "checkpoint")
    folder = Path(HydraConfig.get().runtime.output_dir)
    _quiet_libraries()
    recipe, parts = _trained(config)
    metrics = runs.test(recipe, parts, folder)
    log.info("metrics     %s", folder / "metrics.json")
    return metrics


def export(config: DictConfig) -> None:
    """Write a checkpoint as a folder that serves without text model, adapter or artifacts."""
    checks.check_given(config, "checkpoint", "folder")
    _quiet_libraries()
    recipe, parts = _trained(config)
    serving.save(parts.model, recipe, config.folder, recommending.model_name(config, recipe))
    log.info("written to %s; in Python: sage_pl.serving.load(folder).recommend(items, k)", config.folder)


def recommend(config: DictConfig) -> None:
    """Recommend to all users, to some, or after one history, by a checkpoint."""
    checks.check_given(config, "checkpoint")
    asked = recommending.question(config)
    _quiet_libraries()
    recipe, checkpoint = _prepared(config)
    model = _built(recipe, checkpoint).model if config.live else None
    recommending.answer(config, asked, recipe, model)


def prepare_only(config: DictConfig) -> None:
    """Make the wanted artifacts and say where they are."""
    checks.refuse_given_artifacts(config)
    _quiet_libraries()
    for name, artifact in prepare(config, config.wanted, stages(config)).items():
        log.info("%-10s %s", name, artifact.path)


def export_handled(config: DictConfig) -> None:
    """Write a data set and its artifacts as the reference's ``handled/`` folder."""
    checks.check_given(config, "folder")
    checks.refuse_given_artifacts(config)
    _quiet_libraries()
    artifacts = prepare(config, ["embed", "reduce", "cluster", "profile", "retrieve"])
    handled.export_handled(config.folder, artifacts)
    log.info("written to %s", config.folder)


def _leave_out_idle_parts(config: DictConfig) -> None:
    for name in checks.prune(config):
        log.info("%s has no effect in this run and is left out", name)
    if unused := checks.unused_weights(config):
        names = ", ".join(f"loss.{key}" for key in unused)
        log.info("no loss term of this run reads %s; a term's own weight is loss.terms.NAME.weight", names)


def _checkpoint(path: str) -> dict[str, Any]:
    if not Path(path).is_file():
        raise checks.ConfigError(f"there is no checkpoint {path}; runs keep theirs in outputs/runs/.../checkpoints/")
    return torch.load(path, map_location="cpu", weights_only=True)


def _trained(config: DictConfig) -> tuple[DictConfig, runs.Parts]:
    """The configuration and the model of ``config.checkpoint``, with its ``overrides``."""
    recipe, checkpoint = _prepared(config)
    return recipe, _built(recipe, checkpoint)


def _prepared(config: DictConfig) -> tuple[DictConfig, dict[str, Any]]:
    """The configuration of ``config.checkpoint`` with its ``overrides``, its artifacts made; and the checkpoint."""
    checkpoint = _checkpoint(config.checkpoint)
    stored = checkpoint["sage_pl"]
    before = stages(_recipe(stored.get("begun_with", stored["config"]), config.overrides))
    recipe = runs.without_training(_recipe(stored["config"], config.overrides))
    artifacts = prepare(recipe, checks.wanted_artifacts(recipe, runs.PARTS), before)
    for name, key in stored["artifact_keys"].items():
        if name in artifacts and artifacts[name].key != key:
            log.warning(
                "%s is now %s, the model was trained with %s: data or libraries changed", name, artifacts[name].key, key
            )
    return recipe, checkpoint


def _built(recipe: DictConfig, checkpoint: dict[str, Any]) -> runs.Parts:
    return runs.trained(recipe, checkpoint["sage_pl"], checkpoint["state_dict"])


def _recipe(stored: dict[str, Any], changes: Any) -> DictConfig:
    """A configuration that a checkpoint holds, and changes to it."""
    recipe = OmegaConf.create(stored)
    OmegaConf.set_struct(recipe, True)
    try:
        recipe.merge_with(changes)
    except OmegaConfBaseException as error:
        raise checks.ConfigError(f"overrides do not fit the checkpoint's configuration: {error}") from error
    checks.refuse_given_artifacts(recipe)
    return recipe


def _check_resume(stored: dict[str, Any], recipe: dict[str, Any], keys: dict[str, str]) -> None:
    """A checkpoint continues this very run: same artifacts, and every other difference is named in the log."""
    if other := [name for name, key in keys.items() if stored["artifact_keys"].get(name, key) != key]:
        raise checks.ConfigError(
            f"the checkpoint was trained with another {', '.join(other)}; resume with its own data settings"
        )
    for difference in checks.differences(stored["config"], recipe):
        log.warning("resuming with a change: %s", difference)


@contextmanager
def _ctrl_c_ends_cleanly(last: Path) -> Iterator[None]:
    """Say where to go on after Ctrl-C, which Lightning answers with SystemExit, and exit with code 130."""
    try:
        yield
    except (SystemExit, KeyboardInterrupt):
        if last.is_file():
            log.warning("interrupted; go on from the last finished epoch with resume=%s", last)
        else:
            log.warning("interrupted before the first epoch ended; the same command goes on with what is prepared")
        raise SystemExit(130) from None


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
        ".*You have overridden `.*batch.*` in `LightningModule`.*",  # the model's own; the data module has none
    ):
        warnings.filterwarnings("ignore", text)
