"""The tuning of a text encoder on pairs of views."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytorch_lightning import Trainer

from sage_pl.semantic.language_models.loading import language_model
from sage_pl.semantic.scft.module import Form, Tuning
from sage_pl.semantic.scft.temperature import TrainedTemperature
from sage_pl.semantic.scft.views import ViewBatches, ViewPairs
from sage_pl.semantic.trainers import fit, planned_steps

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


@dataclass(frozen=True)
class Training:
    """How fast and with how many negatives; how long is the trainer's.

    Args:
        batch_size: items contrasted with each other; the items that do not fill the last batch of an epoch are left out of
            it.
        lr: of AdamW without weight decay, falling linearly to 0.
        warmup: share of the steps in which the rate rises first.
        held_out: share of the items, at most 2,000, that are left out and looked at before and after.
        gradient_checkpointing: compute states twice to save memory.
        seed: of the adapters' start, dropout, order, views and the items held out.

    Raises:
        ValueError: a number is out of range.

    Reference: LLMEmb code: 4,000 steps of 64 (large catalogue: 32) pairs for each of four devices, lr 2e-4, no warm-up.
    """

    batch_size: int = 64
    lr: float = 2e-4
    warmup: float = 0.03
    held_out: float = 0.05
    gradient_checkpointing: bool = field(default=False, compare=False)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.batch_size < 2 or self.lr <= 0:
            raise ValueError(
                f"steps.scft.training has batch_size={self.batch_size} and lr={self.lr}, wanted batches of at least 2 and a "
                "rate above 0"
            )
        if not 0 <= self.warmup < 1 or not 0 <= self.held_out < 1:
            raise ValueError(
                f"steps.scft.training has warmup={self.warmup} and held_out={self.held_out}, wanted shares within [0, 1)"
            )


def tune(
    encoder: SentenceTransformer,
    pairs: ViewPairs,
    form: Form,
    temperature: TrainedTemperature,
    training: Training,
    trainer: Trainer,
) -> list[float]:
    """Train what is trainable of the encoder, and the temperature; returns the loss of every batch.

    A trainer with a checkpoint in its folder continues from there, exactly as if it had not been interrupted.

    Raises:
        ValueError: there are fewer than two items, or the trainer would never stop.
        FloatingPointError: the loss is not finite.
    """
    if len(pairs) < 2:
        raise ValueError(f"tuning contrasts different texts; got {len(pairs)}, wanted at least 2")
    batches = ViewBatches(pairs, training.batch_size, training.seed)
    n_steps = planned_steps(trainer, len(batches))
    module = Tuning(encoder, form, temperature, training.lr, training.warmup, n_steps)
    if training.gradient_checkpointing:
        language_model(encoder).gradient_checkpointing_enable({"use_reentrant": False})
    fit(trainer, module.train(), batches)
    if training.gradient_checkpointing:
        language_model(encoder).gradient_checkpointing_disable()
    encoder.to(trainer.strategy.root_device).eval()  # Lightning leaves it on the CPU
    return module.losses
