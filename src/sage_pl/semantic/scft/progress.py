"""Unfinished tuning: all that the next step depends on, in one file, so that an interrupted run goes on exactly."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from sage_pl.artifacts.files import whole_file

log = logging.getLogger(__name__)


class Stateful(Protocol):
    """An optimiser, a schedule, pairs of views: what has a state."""

    def state_dict(self) -> Any: ...

    def load_state_dict(self, state: Any, /) -> Any: ...


class Progress:
    """Keeps weights, the state of parts and of torch's random numbers, and the losses so far.

    Args:
        file: where; None keeps nothing.
        weights: what is trained, by name.
        parts: what else changes from step to step, by name.
        every: seconds between writes.
    """

    def __init__(
        self, file: Path | None, weights: Mapping[str, Tensor], parts: Mapping[str, Stateful], every: float = 120.0
    ) -> None:
        self.file = file
        self.weights = weights
        self.parts = parts
        self.every = every
        self._written = time.monotonic()

    def resume(self) -> list[float]:
        """Put everything back; returns the losses of the steps that are done."""
        if self.file is None or not self.file.is_file():
            return []
        kept = torch.load(self.file, map_location="cpu", weights_only=True)
        with torch.no_grad():
            for name, tensor in self.weights.items():
                tensor.copy_(kept["weights"][name])
        for name, part in self.parts.items():
            part.load_state_dict(kept["parts"][name])
        torch.set_rng_state(kept["random"])
        if torch.cuda.is_available() and kept["cuda"]:
            torch.cuda.set_rng_state_all(kept["cuda"])
        log.info("goes on after step %d from %s", len(kept["losses"]), self.file)
        return list(kept["losses"])

    def keep(self, losses: list[float]) -> None:
        """Write, if it is time."""
        if self.file is None or time.monotonic() - self._written < self.every:
            return
        state = {
            "weights": {name: tensor.detach() for name, tensor in self.weights.items()},
            "parts": {name: part.state_dict() for name, part in self.parts.items()},
            "random": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "losses": losses,
        }
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(self.file) as part:
            torch.save(state, part)
        self._written = time.monotonic()
