"""The tuning of a text encoder on pairs of views."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pytorch_lightning as pl
import torch
from jaxtyping import Float
from torch import Tensor

from sage_pl.errors import SettingError
from sage_pl.hardware import return_freed_memory
from sage_pl.ranges import Count, Dropout, Rate, Seed, Share
from sage_pl.semantic.language_models.batches import batches_of_like_length, lengths
from sage_pl.semantic.language_models.loading import language_model
from sage_pl.semantic.scft.temperature import TrainedTemperature
from sage_pl.semantic.scft.views import Pair, ViewBatches, ViewPairs
from sage_pl.semantic.trainers import FIRST, fit, planned_steps

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

log = logging.getLogger(__name__)

BATCH_TOKENS = 4096  # padded tokens encoded together; does not change the result
TRIM = 16  # batches between two returns of freed memory: texts differ in length, so tensors differ in size at each step
LINES = 10  # lines about the loss in the log


class Form(Protocol):
    """A contrastive loss of two sides whose rows belong together."""

    def __call__(self, a: Tensor, b: Tensor, temperature: Tensor, /) -> Tensor: ...


@dataclass(frozen=True)
class Training:
    """Batches and rates; the trainer sets the length.

    Args:
        batch_size: items contrasted with each other; an epoch leaves out the items that do not fill a last batch.
        lr: of AdamW without weight decay, falling linearly to 0.
        warmup: share of the steps in which the rate rises first.
        held_out: share of the items, at most 2,000, that are evaluated before and after instead of trained on.
        gradient_checkpointing: compute states twice to save memory.
        seed: of the adapters' start, dropout, order, views and the items held out.

    Raises:
        ValueError: a number is out of range.

    Reference: LLMEmb code: 4,000 steps of 64 (large catalogue: 32) pairs for each of four devices, lr 2e-4, no warm-up.
    """

    batch_size: Count = 64
    lr: Rate = 2e-4
    warmup: Share = 0.03
    held_out: Dropout = 0.05
    gradient_checkpointing: bool = field(default=False, compare=False)
    seed: Seed = 0

    def __post_init__(self) -> None:
        if self.batch_size < 2 or self.lr <= 0:
            raise SettingError(
                f"steps.scft.training has batch_size={self.batch_size} and lr={self.lr}, wanted batches of at least 2 and a "
                "rate above 0"
            )
        if not 0 <= self.warmup < 1 or not 0 <= self.held_out < 1:
            raise SettingError(
                f"steps.scft.training has warmup={self.warmup} and held_out={self.held_out}, wanted shares within [0, 1)"
            )


def tune(
    encoder: SentenceTransformer,
    pairs: ViewPairs,
    form: Form,
    temperature: TrainedTemperature,
    training: Training,
    trainer: pl.Trainer,
) -> list[float]:
    """Train the encoder's trainable weights and the temperature; returns the loss of every batch.

    A checkpoint in the trainer's folder is continued from, with the same result as without the interruption.

    Raises:
        ValueError: there are fewer than two items, or the trainer has no limit.
        FloatingPointError: the loss is not finite.
    """
    if len(pairs) < 2:
        raise SettingError(f"tuning contrasts different texts; got {len(pairs)}, wanted at least 2")
    batches = ViewBatches(pairs, training.batch_size, training.seed)
    steps = planned_steps(trainer, len(batches))
    log.info(
        "%d steps of %d pairs; how long they take is known after the first %d batches",
        steps,
        training.batch_size,
        FIRST,
    )
    module = Tuning(encoder, form, temperature, training, steps)
    if training.gradient_checkpointing:
        language_model(encoder).gradient_checkpointing_enable({"use_reentrant": False})
    fit(trainer, module.train(), batches)
    if training.gradient_checkpointing:
        language_model(encoder).gradient_checkpointing_disable()
    encoder.to(trainer.strategy.root_device).eval()  # Lightning moves it to the CPU
    return module.losses


class Tuning(pl.LightningModule):
    """Trains the encoder's trainable weights and the temperature for ``n_steps`` optimiser steps.

    Both views of a batch are encoded with dropout; the batch's other items are the negatives. Checkpoints hold the trained
    weights alone, the states of torch's random generators and the losses.
    """

    def __init__(
        self,
        encoder: SentenceTransformer,
        form: Form,
        temperature: TrainedTemperature,
        training: Training,
        n_steps: int,
    ) -> None:
        super().__init__()
        self.strict_loading = False  # checkpoints lack the frozen weights
        self.encoder = encoder
        self.form = form
        self.temperature = temperature
        self.settings = training
        self.n_steps = n_steps
        self.losses: list[float] = []  # of every batch
        self._random: list[Tensor] = []
        self._start = 0, 0.0

    def configure_optimizers(self) -> Any:
        weights = [weight for weight in self.encoder.parameters() if weight.requires_grad]
        groups = [
            {"params": weights, "lr": self.settings.lr},
            {"params": [self.temperature.log], "lr": self.temperature.settings.lr},
        ]
        optimizer = torch.optim.AdamW(groups, weight_decay=0.0)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate_of(self.n_steps, self.settings.warmup))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def training_step(self, batch: list[Pair], batch_idx: int) -> Tensor:
        first, second = pooled(self.encoder, batch)
        with torch.autocast(self.device.type, enabled=False):
            loss = self.form(first, second, self.temperature())
        self.losses.append(loss.item())
        if not math.isfinite(self.losses[-1]):
            raise FloatingPointError(
                f"the loss is {self.losses[-1]} at step {len(self.losses)}; lower steps.scft.training.lr, or set "
                "steps.scft.loss.cosine=true"
            )
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch))
        self.log("train/temperature", self.temperature().detach(), batch_size=len(batch))
        return loss

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        self.temperature.clamp()

    def on_train_start(self) -> None:
        self._start = len(self.losses), time.perf_counter()
        if self._random:
            torch.set_rng_state(self._random[0])
            if self.device.type == "cuda" and len(self._random) > 1:
                torch.cuda.set_rng_state(self._random[1], self.device)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        done = len(self.losses)
        if done % TRIM == 0:
            return_freed_memory()
        every = max(1, self.n_steps * self.trainer.accumulate_grad_batches // LINES)
        if done % every == 0:
            rate = (done - self._start[0]) / (time.perf_counter() - self._start[1])
            numbers = (float(np.mean(self.losses[-every:])), self.temperature().item(), rate)
            step = self.trainer.global_step
            log.info("step %d of %d: loss %.4f, temperature %.4f, %.2f batches/s", step, self.n_steps, *numbers)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        weights = {name: weight.detach() for name, weight in self.named_parameters() if weight.requires_grad}
        cuda = [torch.cuda.get_rng_state(self.device)] if self.device.type == "cuda" else []
        checkpoint |= {"state_dict": weights, "losses": self.losses, "random": [torch.get_rng_state(), *cuda]}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.losses, self._random = checkpoint["losses"], checkpoint["random"]


def pooled(encoder: SentenceTransformer, views: list[Pair]) -> tuple[Float[Tensor, "M D"], Float[Tensor, "M D"]]:
    """The vectors of both sides, with gradient, float32; texts of like length are encoded together."""
    texts = [pair[side] for side in (0, 1) for pair in views]
    parts = list(batches_of_like_length(lengths(encoder, texts), BATCH_TOKENS))
    vectors = []
    for part in parts:
        features = encoder.preprocess([texts[i] for i in part])
        features = {n: v.to(encoder.device) if isinstance(v, Tensor) else v for n, v in features.items()}
        vectors.append(encoder(features)["sentence_embedding"].float())
    back = torch.from_numpy(np.argsort(np.concatenate(parts), kind="stable")).to(encoder.device)
    first, second = torch.cat(vectors)[back].chunk(2)
    return first, second


def rate_of(steps: int, warmup: float) -> Callable[[int], float]:
    """Factor of the learning rate at a step: up to 1 over the warm-up, then linearly to 0."""
    rising = int(steps * warmup)
    return lambda step: (step + 1) / (rising + 1) if step < rising else (steps - step) / max(1, steps - rising)
