"""The overrides of a command as they were typed."""

from __future__ import annotations

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf


def typed_overrides(hydra: DictConfig | None = None) -> list[str]:
    """The command's overrides, with ``${...}`` unresolved: what a typed value refers to need not exist yet.

    Args:
        hydra: Hydra's part of a configuration; None for that of the running command, without which there are none.
    """
    if hydra is None:
        if not HydraConfig.initialized():
            return []
        hydra = HydraConfig.get()
    return [str(one) for one in OmegaConf.to_container(hydra.overrides.task, resolve=False)]
