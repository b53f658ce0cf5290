"""The overrides of a command as they were typed."""

from __future__ import annotations

from typing import cast

from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf


def typed_overrides() -> list[str]:
    """The running command's overrides, with ``${...}`` unresolved: what a typed value refers to need not exist yet.

    Empty without a command.
    """
    if not HydraConfig.initialized():
        return []
    return cast(list[str], OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False))
