"""What a command that opens a checkpoint says of overrides without effect."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from sage_pl.artifacts.identity import flat
from sage_pl.runs.checkpoint import Checkpoint, plan_of
from sage_pl.runs.unread import is_below, unread_keys

log = logging.getLogger(__name__)

_OF_TRAINING = ("callbacks", "data.batch_size", "dropout", "loss", "optimizer", "schedule", "trainer.max_epochs")


def name_unread(trained: Checkpoint, overrides: Mapping[str, Any], config: DictConfig, purpose: str) -> None:
    """Name the keys of ``config.overrides`` that the trained model's plan does not read, or reads in training alone.

    Args:
        trained: the checkpoint.
        overrides: those keys, and the scorer of the command line.
        config: of the command.
        purpose: what the command makes, in one word.

    Raises:
        ConfigError: the overrides do not fit the checkpoint's recipe.
    """
    keys = [key for key, _ in flat(OmegaConf.to_container(config.overrides, resolve=False))]
    absent = unread_keys(plan_of(trained, overrides), keys) if keys else []
    if names := [key for key in keys if key in absent or any(is_below(key, root) for root in _OF_TRAINING)]:
        log.warning("nothing in this %s reads %s", purpose, ", ".join(f"overrides.{name}" for name in names))
