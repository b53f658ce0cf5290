"""The command evaluate: test a checkpoint alone."""

from __future__ import annotations

import logging
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from sage_pl import hosts
from sage_pl.artifacts.identity import value_at
from sage_pl.commands.quiet import quiet_libraries
from sage_pl.commands.unread_overrides import name_unread
from sage_pl.runs import checkpoint, checks, evaluated, tested
from sage_pl.runs.scoring import choose_weights, with_scorer

log = logging.getLogger(__name__)


def evaluate(config: DictConfig) -> dict[str, float]:
    """Test ``config.checkpoint``, which holds its configuration; missing artifacts are made again.

    With ``scorer=CHOICE`` the folder is that of a run, which a comparison takes.

    Returns:
        The metrics, as in ``metrics.json`` of the output folder.

    Raises:
        ConfigError, MissingFileError: the checkpoint is missing, is not one, or cannot be run.
    """
    checks.check_given(config, "checkpoint")
    current = checks.reads_current(config)
    quiet_libraries()
    trained = checkpoint.open_checkpoint(config.checkpoint)
    if repeated := trained.recipe.get("refit"):
        raise checks.ConfigError(
            f"{trained.path} is a refit on all events, which leave nothing to test it on; its metrics are those of {repeated}, "
            f"so evaluate checkpoint={repeated}/checkpoints/best.ckpt"
        )
    hydra = HydraConfig.get().runtime
    folder = Path(hydra.output_dir)
    overrides = with_scorer(config)
    cache = value_at(overrides, "paths.artifacts") or config.artifacts
    with hosts.only(config.allow_host):
        prepared = checkpoint.prepared(trained, overrides, config.artifacts, current)
        name_unread(trained, overrides, config, "evaluation")
        run = None
        if "scorer" in config:
            run = evaluated.as_a_run(trained, overrides, hydra.choices.get("scorer"), prepared)
        parts = checkpoint.trained(prepared, trained)
        choose_weights(parts, overrides)
        metrics = tested.test(prepared, parts, folder, cache, {} if run is None else evaluated.training_facts(trained))
        if run is not None:
            evaluated.record(run, folder)
    log.info("metrics     %s", folder / "metrics.json")
    return metrics
