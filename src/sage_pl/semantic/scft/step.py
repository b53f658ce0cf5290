"""The step that tunes a text encoder on a data set's items."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from pytorch_lightning import Trainer

from sage_pl.artifacts.files import unfinished
from sage_pl.artifacts.identity import identity
from sage_pl.artifacts.store import Artifact
from sage_pl.ranges import Count
from sage_pl.semantic.language_models.loading import MINILM, check_pooling, find_model, language_model, load_encoder
from sage_pl.semantic.language_models.weights import settings_of, weights_in
from sage_pl.semantic.scft.diagnostics import describe_views
from sage_pl.semantic.scft.lora import REPORT, Lora, require_peft, save_adapter
from sage_pl.semantic.scft.temperature import Temperature, TrainedTemperature
from sage_pl.semantic.scft.train import Form, Training, tune
from sage_pl.semantic.scft.views import AttributeDropout, Attributes, ValueDropout, ViewPairs, attribute_lists
from sage_pl.semantic.texts import check_columns
from sage_pl.semantic.trainers import finish, make_trainer, trainer_settings

log = logging.getLogger(__name__)

MAX_HELD_OUT = 2000
CHECKPOINT_EVERY = timedelta(minutes=2)


@dataclass(frozen=True)
class Scft:
    """Supervised contrastive fine-tuning: two attribute-dropped views of an item attract, views of others repel.

    ``min over adapters and t: loss(e¹, e², t)``, e the encoder's pooled vectors of a batch's two views, t the temperature.

    Args:
        columns: of the items table; each is one attribute.
        loss: ``loss(a, b, temperature)`` of the two sides: ``InfoNCE``, ``Decoupled`` (the paper) or ``SoftTargets`` (the
            reference code) of :mod:`sage_pl.nn.losses.contrastive`.
        labels: prefix of each column's value, as in :class:`sage_pl.semantic.texts.Texts`.
        instruction: a line before every text, or None.
        model: as for :func:`sage_pl.semantic.language_models.loading.load_encoder`.
        pooling: mean, lasttoken, cls or max.
        max_tokens: tokens kept of a view, at most the model's limit.
        views, lora, temperature, training: settings of each part.
        trainer: ``pytorch_lightning.Trainer`` with its settings. 0 steps leave the encoder unchanged. ``bf16-mixed`` also holds
            the frozen weights in bfloat16; adapters stay float32.
        offline: refuse to download.

    Writes:
        ``adapter_model.safetensors`` and ``adapter_config.json`` in peft's format; ``metrics.csv``, loss and temperature of
        each step; ``scft.json``: settings, sha256 of the base model's weight files (none for a name on the hub), numbers of
        items, losses, and diagnostics of held-out items before and after.

    Raises:
        ValueError: the data set has no text, lacks a column, or has too few distinct texts.
        ModelError: a package or the model is missing.

    Reference: LLMEmb, section on supervised contrastive fine-tuning, equations 2 to 5. Differs: cosine InfoNCE, fresh views at
    every access, no end-of-text token, equal texts merged; docs/methods/llmemb.md has the settings of the original.
    """

    columns: tuple[str, ...]
    loss: Form
    labels: Mapping[str, str] | None = None
    instruction: str | None = None
    model: str = MINILM
    pooling: str = "mean"
    max_tokens: Count = 256
    views: AttributeDropout = field(default_factory=ValueDropout)
    lora: Lora = field(default_factory=Lora)
    temperature: Temperature = field(default_factory=Temperature)
    training: Training = field(default_factory=Training)
    trainer: partial[Trainer] = field(default_factory=trainer_settings)
    offline: bool = field(default=False, compare=False)

    name: ClassVar[str] = "scft"
    version: ClassVar[int] = 1
    inputs: ClassVar[tuple[str, ...]] = ("sequences",)
    READ_WITH: ClassVar = dict.fromkeys(
        [
            *("loss", "lora", "temperature", "training.batch_size", "training.lr", "training.warmup"),
            *("trainer.max_epochs", "trainer.accumulate_grad_batches", "trainer.gradient_clip_val"),
        ],
        ("trainer.max_steps", bool),
    )

    @property
    def libraries(self) -> tuple[str, ...]:
        require_peft()
        return ("sentence-transformers", "transformers", "peft")

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", tuple(self.columns or ()))
        object.__setattr__(self, "labels", dict(self.labels or {}))
        check_pooling(self.pooling, "steps.scft.pooling")

    def fingerprint(self) -> dict[str, Any]:
        """The settings that enter an artifact key."""
        return settings_of(self)

    def run(self, inputs: Mapping[str, Artifact], out: Path) -> None:
        items = inputs["sequences"].frame("items")
        check_columns(items, self.columns, "steps.scft.columns")
        texts = attribute_lists(items, self.columns, self.labels, self.views.each_value)
        tuning, holdout = self._split(texts)
        with torch.random.fork_rng():
            torch.manual_seed(self.training.seed)
            report = self._tune(tuning, holdout, out)
        finish(unfinished(out), out)
        counts = {"all": items.height, "distinct": len(texts), "trained": len(tuning), "held_out": len(holdout)}
        weights = weights_in(find_model(self.model)[0])
        source = {"model": self.model, "weights": weights, "data": inputs["sequences"].key, "items": counts}
        (out / REPORT).write_text(json.dumps(source | report | {"settings": identity(self)}, indent=2))

    def _split(self, texts: list[Attributes]) -> tuple[list[Attributes], list[Attributes]]:
        """Texts to train on and texts held out, in their order; diagnostics need two, so a single one is not held out."""
        if whole := sum(not self.views.dropped(len(attributes)) for attributes in texts):
            problem = "texts never lose an attribute: their two views have the same words"
            log.warning("%d of %d %s; add columns with steps.scft.columns", whole, len(texts), problem)
        n = min(int(len(texts) * self.training.held_out), MAX_HELD_OUT)
        order = np.random.default_rng(self.training.seed).permutation(len(texts))
        holdout = set(order[: n if n > 1 else 0].tolist())
        return [t for i, t in enumerate(texts) if i not in holdout], [t for i, t in enumerate(texts) if i in holdout]

    def _tune(self, tuning: list[Attributes], holdout: list[Attributes], out: Path) -> dict[str, Any]:
        """Tune and save the adapters; returns the numbers of the report."""
        trainer = make_trainer(self.trainer, unfinished(out), train_time_interval=CHECKPOINT_EVERY)
        device, bf16 = str(trainer.strategy.root_device), str(trainer.precision).startswith("bf16")
        encoder = load_encoder(self.model, self.pooling, self.max_tokens, bf16, device, self.offline)
        config = self.lora.add_to(language_model(encoder))
        temperature = TrainedTemperature(self.temperature)
        n_weights = sum(p.numel() for p in encoder.parameters() if p.requires_grad)
        log.info("tuning %s weights of %s on %d texts", f"{n_weights:,}", self.model, len(tuning))
        pairs, test_pairs = (
            ViewPairs(texts, self.views, self.instruction, self.training.seed + more)
            for more, texts in enumerate((tuning, holdout))
        )
        views = [test_pairs[i] for i in range(len(holdout))]
        before = describe_views(encoder, views) if views else None
        losses = tune(encoder, pairs, self.loss, temperature, self.training, trainer)
        after = describe_views(encoder, views) if views else None
        for when, numbers in (("before", before), ("after", after)):
            if numbers:
                log.info("%-6s top-1 %.3f, cosine %.3f, uniformity %.3f", when, *numbers.values())
        base = Path(self.model).name if Path(self.model).is_dir() else self.model
        save_adapter(language_model(encoder), config, base, out)
        return {
            "trainable": n_weights,
            "bf16": bf16,
            "steps": trainer.global_step,
            "losses": losses,
            "temperature": temperature().item(),
            "equal_views": sum(a == b for a, b in views) / len(views) if views else None,
            "before": before,
            "after": after,
        }
