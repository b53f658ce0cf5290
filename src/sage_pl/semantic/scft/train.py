"""The loop that tunes a text encoder on pairs of views."""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

from sage_pl.hardware import return_freed_memory
from sage_pl.semantic.language_models.batches import batches_of_like_length, lengths
from sage_pl.semantic.language_models.loading import language_model
from sage_pl.semantic.scft.progress import Progress
from sage_pl.semantic.scft.temperature import TrainedTemperature

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

log = logging.getLogger(__name__)

BATCH_TOKENS = 4096  # padded tokens encoded together; does not change the result
TRIM = 16  # steps after which freed memory is returned
LINES = 10  # lines about the loss in the log


class Form(Protocol):
    """A contrastive loss of two sides whose rows belong together."""

    def __call__(self, a: Tensor, b: Tensor, temperature: Tensor, /) -> Tensor: ...


class Pairs(Protocol):
    """Two views of each item."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[str, str]: ...

    def state_dict(self) -> Any: ...

    def load_state_dict(self, state: Any, /) -> Any: ...


@dataclass(frozen=True)
class Training:
    """How long, how fast and with how many negatives.

    Args:
        epochs: times every item is seen.
        max_steps: steps in all, whatever the epochs; None follows the epochs. 0 leaves the encoder as it comes.
        batch_size: items contrasted with each other; the items that do not fill the last batch of an epoch are left out of
            it.
        lr: of AdamW without weight decay, falling linearly to 0.
        warmup: share of the steps in which the rate rises first.
        held_out: share of the items, at most 2,000, that are left out and looked at before and after.
        bf16: compute in bfloat16, and hold the frozen weights in it; adapters stay float32.
        gradient_checkpointing: compute states twice to save memory.
        seed: of the adapters' start, dropout, order, views and the items held out.

    Raises:
        ValueError: a number is out of range.

    Reference: LLMEmb code: 4,000 steps of 64 (large catalogue: 32) pairs for each of four devices, lr 2e-4, no warm-up.
    """

    epochs: int = 1
    max_steps: int | None = None
    batch_size: int = 64
    lr: float = 2e-4
    warmup: float = 0.03
    held_out: float = 0.05
    bf16: bool = False
    gradient_checkpointing: bool = field(default=False, compare=False)
    seed: int = 0

    def __post_init__(self) -> None:
        if (self.epochs < 1 if self.max_steps is None else self.max_steps < 0) or self.batch_size < 2 or self.lr <= 0:
            raise ValueError(
                f"steps.scft.training has epochs={self.epochs}, max_steps={self.max_steps}, batch_size={self.batch_size} "
                f"and lr={self.lr}, wanted at least 1 epoch or 0 steps, batches of at least 2 and a rate above 0"
            )
        if not 0 <= self.warmup < 1 or not 0 <= self.held_out < 1:
            raise ValueError(
                f"steps.scft.training has warmup={self.warmup} and held_out={self.held_out}, wanted shares within [0, 1)"
            )

    def steps(self, n_items: int) -> int:
        """Steps for so many items."""
        return self.epochs * max(1, n_items // self.batch_size) if self.max_steps is None else self.max_steps


def tune(
    encoder: SentenceTransformer,
    pairs: Pairs,
    form: Form,
    temperature: TrainedTemperature,
    training: Training,
    unfinished: Path | None = None,
) -> list[float]:
    """Train what is trainable of the encoder, and the temperature; returns the loss of every step.

    Both views of a batch go through the encoder, with dropout; other items of the batch are the negatives. ``unfinished`` is
    written every two minutes, and where it exists tuning goes on from there, exactly as if it had not been interrupted.

    Raises:
        ValueError: there are fewer than two items.
        FloatingPointError: the loss is not finite.
    """
    from tqdm import tqdm

    if len(pairs) < 2:
        raise ValueError(f"tuning contrasts different texts; got {len(pairs)}, wanted at least 2")
    n_steps = training.steps(len(pairs))
    weights = {name: weight for name, weight in encoder.named_parameters() if weight.requires_grad}
    optimizer = optimizer_of(weights.values(), temperature, training.lr)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate_of(n_steps, training.warmup))
    if training.gradient_checkpointing:
        language_model(encoder).gradient_checkpointing_enable({"use_reentrant": False})
    encoder.train()
    progress = Progress(
        unfinished,
        {**weights, "temperature": temperature.log},
        {"optimizer": optimizer, "schedule": schedule, "pairs": pairs},
    )
    losses = progress.resume()
    done, start, every = len(losses), time.perf_counter(), max(1, n_steps // LINES)
    order = islice(batches(len(pairs), training.batch_size, n_steps, np.random.default_rng(training.seed)), done, None)
    for batch in tqdm(order, desc="scft", unit="step", initial=done, total=n_steps, disable=not sys.stderr.isatty()):
        loss = form(*pooled(encoder, [pairs[i] for i in batch], training.bf16), temperature())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        temperature.clamp()
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            raise FloatingPointError(
                f"the loss is {losses[-1]} at step {len(losses)}; lower steps.scft.training.lr, or set "
                "steps.scft.loss.cosine=true"
            )
        if len(losses) % every == 0:
            rate = (len(losses) - done) / (time.perf_counter() - start)
            recent, now = float(np.mean(losses[-every:])), temperature().item()
            log.info("step %d of %d: loss %.4f, temperature %.4f, %.2f/s", len(losses), n_steps, recent, now, rate)
        progress.keep(losses)
        if len(losses) % TRIM == 0:
            return_freed_memory()
    if training.gradient_checkpointing:
        language_model(encoder).gradient_checkpointing_disable()
    encoder.eval()
    return losses


def optimizer_of(weights: Iterable[Tensor], temperature: TrainedTemperature, lr: float) -> torch.optim.Optimizer:
    """AdamW over the weights, the temperature at its own rate."""
    return torch.optim.AdamW(
        [{"params": list(weights), "lr": lr}, {"params": [temperature.log], "lr": temperature.settings.lr}],
        weight_decay=0.0,
    )


def pooled(
    encoder: SentenceTransformer, views: list[tuple[str, str]], bf16: bool
) -> tuple[Float[Tensor, "M D"], Float[Tensor, "M D"]]:
    """The vectors of both sides, with gradient, float32; texts of like length go through the encoder together."""
    texts = [pair[side] for side in (0, 1) for pair in views]
    device = encoder.device
    parts = list(batches_of_like_length(lengths(encoder, texts), BATCH_TOKENS))
    vectors = []
    for part in parts:
        features = encoder.preprocess([texts[i] for i in part])
        features = {name: value.to(device) if isinstance(value, Tensor) else value for name, value in features.items()}
        with torch.autocast(device.type, torch.bfloat16) if bf16 else nullcontext():
            vectors.append(encoder(features)["sentence_embedding"].float())
    back = torch.from_numpy(np.argsort(np.concatenate(parts), kind="stable")).to(device)
    first, second = torch.cat(vectors)[back].chunk(2)
    return first, second


def batches(n: int, size: int, steps: int, generator: np.random.Generator) -> Iterator[npt.NDArray[np.int64]]:
    """So many batches of distinct numbers below n, each permutation cut into full batches."""
    size, done = min(size, n), 0
    while done < steps:
        order = generator.permutation(n)
        for start in range(0, n - size + 1, size):
            if done < steps:
                yield order[start : start + size]
                done += 1


def rate_of(steps: int, warmup: float) -> Callable[[int], float]:
    """Factor of the learning rate at a step: up to 1 over the warm-up, then linearly towards 0."""
    rising = int(steps * warmup)
    return lambda step: (step + 1) / (rising + 1) if step < rising else (steps - step) / max(1, steps - rising)
