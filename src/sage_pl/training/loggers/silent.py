"""A logger that records nothing, of a process that follows another."""

from __future__ import annotations

from typing import Any

from pytorch_lightning.loggers import Logger


class Silent(Logger):
    """Stands in a follower where rank 0 has a logger, so that callbacks which need one do the same in both."""

    @property
    def name(self) -> None:
        return None

    @property
    def version(self) -> None:
        return None

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        pass

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        pass
