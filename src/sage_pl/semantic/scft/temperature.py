"""A trained temperature."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sage_pl.errors import SettingError
from sage_pl.ranges import Positive, Rate


@dataclass(frozen=True)
class Temperature:
    """Start, rate and bounds of the temperature.

    Args:
        start: first value.
        lr: learning rate of the logarithm; 0 keeps it fixed.
        low, high: bounds.

    Raises:
        ValueError: unless 0 < low <= start <= high and lr >= 0.

    Reference: LLMEmb code, which starts at 3 and trains it with the adapters' rate, at which it hardly moves.
    """

    start: Positive = 0.05
    lr: Rate = 0.01
    low: Positive = 0.01
    high: Positive = 10.0

    def __post_init__(self) -> None:
        if not 0 < self.low <= self.start <= self.high or self.lr < 0:
            raise SettingError(
                f"steps.scft.temperature has start={self.start}, low={self.low}, high={self.high} and lr={self.lr}, "
                "wanted 0 < low <= start <= high and lr >= 0"
            )


class TrainedTemperature(nn.Module):
    """``t = exp(l)``, l a parameter, or a constant at a learning rate of 0."""

    def __init__(self, settings: Temperature) -> None:
        super().__init__()
        self.settings = settings
        self.log = nn.Parameter(torch.tensor(math.log(settings.start)), requires_grad=settings.lr > 0)

    def forward(self) -> Float[Tensor, ""]:
        return self.log.exp()

    @torch.no_grad()
    def clamp(self) -> None:
        """Clip to the bounds; called after an optimiser step."""
        self.log.clamp_(math.log(self.settings.low), math.log(self.settings.high))
