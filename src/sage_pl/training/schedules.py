"""Learning rates that change from step to step, as a factor of ``optimizer.lr``."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import torch
from torch.optim.lr_scheduler import LambdaLR

from sage_pl.errors import SettingError
from sage_pl.ranges import Count, Natural, Range, Share

Warmup = Natural | Annotated[float, Range(0, 1, below=True)]


class Warmed:
    """``lr(t) = lr * min(1, (t + 1) / W)`` at step t = 0, 1, ...: constant after a linear warm-up over W steps.

    The factor depends on t and the run's length alone, so a run that is continued is the run that never stopped; one that goes
    on for more epochs follows the longer curve from there.

    Args:
        warmup: W as a number of steps (an integer), or as a share of all steps (a fraction below 1).
        epochs: at which the curve ends; None for the end of the run, ``trainer.max_epochs``.
    """

    decays: ClassVar[bool] = False

    def __init__(self, warmup: Warmup = 0.05, epochs: Count | None = None) -> None:
        self.warmup = warmup
        self.epochs = epochs

    @property
    def needs_end(self) -> bool:
        """Whether the number of steps decides the curve."""
        return self.decays or not isinstance(self.warmup, int)

    def __call__(self, optimizer: torch.optim.Optimizer, steps: float, epochs: int | None = None) -> LambdaLR:
        """The scheduler of an optimizer, to be stepped after every step of it.

        Args:
            optimizer: to schedule.
            steps: of the run, ``trainer.estimated_stepping_batches``; infinity where it has no known end.
            epochs: of the run.

        Raises:
            SettingError: the curve needs an end, and the run has none.
        """
        total = steps
        if self.epochs is not None:
            total = steps * self.epochs / epochs if epochs and epochs > 0 else math.inf
        if self.needs_end and not math.isfinite(total):
            raise SettingError(NO_END)
        warm = self.warmup if isinstance(self.warmup, int) else round(self.warmup * total)
        return LambdaLR(optimizer, lambda step: self.factor(step, warm, total))

    def factor(self, step: int, warm: int, total: float) -> float:
        """Share of the rate at one step, in [0, 1].

        Args:
            step: t, from 0.
            warm: W.
            total: T, steps until the curve's end.
        """
        if step < warm:
            return (step + 1) / warm
        return self.decay(min((step - warm) / max(total - warm, 1), 1)) if self.decays else 1.0

    def decay(self, progress: float) -> float:
        """The factor after the warm-up, by the share x in [0, 1] of the remaining steps that are done."""
        raise NotImplementedError


class Decaying(Warmed):
    """A schedule that falls from the full rate to ``end`` of it.

    Args:
        warmup, epochs: see :class:`Warmed`.
        end: share of the rate at the end.
    """

    decays = True

    def __init__(self, warmup: Warmup = 0.05, epochs: Count | None = None, end: Share = 0.0) -> None:
        super().__init__(warmup, epochs)
        self.end = end


class Linear(Decaying):
    """After the warm-up ``lr(t) = lr * (1 - (1 - end) x)``, x = (t - W) / (T - W)."""

    def decay(self, progress: float) -> float:
        return 1 - (1 - self.end) * progress


class Cosine(Decaying):
    """After the warm-up ``lr(t) = lr * (end + (1 - end) (1 + cos(pi x)) / 2)``, x = (t - W) / (T - W).

    Reference: Loshchilov and Hutter 2017, "SGDR", without restarts.
    """

    def decay(self, progress: float) -> float:
        return self.end + (1 - self.end) * (1 + math.cos(math.pi * progress)) / 2


NO_END = (
    "schedule follows the run's length, and trainer.max_epochs is -1; set trainer.max_epochs=N, or warm up over a number of "
    "steps and stay there: schedule=warmup schedule.warmup=500"
)
