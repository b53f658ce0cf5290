"""The step that tunes a text encoder on the data set's items."""

from __future__ import annotations

import json
import logging
import shutil
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
from sage_pl.semantic.language_models.loading import MINILM, check_pooling, find_model, language_model, load_encoder
from sage_pl.semantic.language_models.weights import settings_of, weights_in
from sage_pl.semantic.scft.diagnostics import describe_views
from sage_pl.semantic.scft.lora import REPORT, Lora, require_peft, save_adapter
from sage_pl.semantic.scft.temperature import Temperature, TrainedTemperature
from sage_pl.semantic.scft.train import Form, ReturnFreedMemory, Training, tune
from sage_pl.semantic.scft.views import AttributeDropout, Attributes, ViewPairs, attribute_lists
from sage_pl.semantic.texts import check_columns
from sage_pl.semantic.trainers import make_trainer, trainer_settings, write_metrics

log = logging.getLogger(__name__)

MOST_HELD_OUT = 2000
CHECKPOINT_EVERY = timedelta(minutes=2)


@dataclass(frozen=True)
class Scft:
    """Supervised contrastive fine-tuning: two attribute-dropped views of an item attract, views of others repel.

    ``min over adapters and t: loss(e¹, e², t)``, e the encoder's pooled vectors of a batch's two views, t the temperature.

    Args:
        columns: columns of the items table; each is one attribute.
        loss: how two sides are contrasted, ``loss(a, b, temperature)``: ``InfoNCE``, ``Decoupled`` (the paper) or
            ``SoftTargets`` (the reference code) of :mod:`sage_pl.nn.losses.contrastive`.
        labels: what stands before a column's value, as in :class:`sage_pl.semantic.texts.Texts`.
        instruction: what stands before every text, on a line of its own; None for nothing.
        model: name on the hub, a local folder, or ``smollm2``, see
            :func:`sage_pl.semantic.language_models.loading.load_encoder`.
        pooling: mean, lasttoken, cls or max.
        max_tokens: tokens kept of a view, at most the model's limit.
        views, lora, temperature, training: settings of each part.
        trainer: ``pytorch_lightning.Trainer`` with its settings; 0 steps leave the encoder as it comes, and a precision of
            bfloat16 also holds the frozen weights in it, while adapters stay float32.
        offline: refuse to download.

    Writes:
        ``adapter_model.safetensors`` and ``adapter_config.json``, in peft's format, the base model by its name;
        ``metrics.csv``, loss and temperature of each step; and ``scft.json``: the settings, the base model's weight files by
        their sha256 where it is no name on the hub, the items' number, the losses, and what held-out items look like before
        and after.

    Raises:
        ValueError: the data set has no text, lacks a column, or has too few distinct texts.
        ModelError: a package or the model is not to be had.

    Reference: LLMEmb, section on supervised contrastive fine-tuning, equations 2 to 5. Differs: cosine InfoNCE, fresh views at
    every access, no end-of-text token, and equal texts are one item; see docs/methods.md for the way back.
    """

    columns: tuple[str, ...]
    loss: Form
    labels: Mapping[str, str] | None = None
    instruction: str | None = None
    model: str = MINILM
    pooling: str = "mean"
    max_tokens: int = 256
    views: AttributeDropout = field(default_factory=AttributeDropout)
    lora: Lora = field(default_factory=Lora)
    temperature: Temperature = field(default_factory=Temperature)
    training: Training = field(default_factory=Training)
    trainer: partial[Trainer] = field(default_factory=trainer_settings)
    offline: bool = field(default=False, compare=False)

    name: ClassVar[str] = "scft"
    version: ClassVar[int] = 1
    inputs: ClassVar[tuple[str, ...]] = ("sequences",)

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
        texts = attribute_lists(items, self.columns, self.labels)
        tuning, holdout = self._split(texts)
        with torch.random.fork_rng():
            torch.manual_seed(self.training.seed)
            report = self._tune(tuning, holdout, out)
        write_metrics(unfinished(out), out)
        shutil.rmtree(unfinished(out), ignore_errors=True)
        report = {
            "model": self.model,
            "weights": weights_in(find_model(self.model)[0]),
            "data": inputs["sequences"].key,
            "items": {"all": items.height, "distinct": len(texts), "trained": len(tuning), "held_out": len(holdout)},
            **report,
            "settings": identity(self),
        }
        (out / REPORT).write_text(json.dumps(report, indent=2))

    def _split(self, texts: list[Attributes]) -> tuple[list[Attributes], list[Attributes]]:
        """Texts to train on, and those held out: none where that would leave fewer than two."""
        alone = sum(len(attributes) == 1 for attributes in texts)
        if alone:
            log.warning(
                "%d of %d texts have one attribute: their two views differ by the encoder's dropout alone; "
                "add columns with steps.scft.columns",
                alone,
                len(texts),
            )
        n = min(int(len(texts) * self.training.held_out), MOST_HELD_OUT)
        n = n if n > 1 else 0
        order = np.random.default_rng(self.training.seed).permutation(len(texts))
        holdout = set(order[:n].tolist())
        return [t for i, t in enumerate(texts) if i not in holdout], [t for i, t in enumerate(texts) if i in holdout]

    def _tune(self, tuning: list[Attributes], holdout: list[Attributes], out: Path) -> dict[str, Any]:
        """Tune and save the adapters; returns the numbers of the report."""
        settings = self.training
        trainer = make_trainer(self.trainer, unfinished(out), ReturnFreedMemory(), train_time_interval=CHECKPOINT_EVERY)
        device, bf16 = str(trainer.strategy.root_device), str(trainer.precision).startswith("bf16")
        encoder = load_encoder(self.model, self.pooling, self.max_tokens, bf16, device, self.offline)
        config = self.lora.add_to(language_model(encoder))
        temperature = TrainedTemperature(self.temperature)
        n_trained = sum(p.numel() for p in encoder.parameters() if p.requires_grad)
        log.info("tuning %s weights of %s on %d texts", f"{n_trained:,}", self.model, len(tuning))
        holdout_pairs = ViewPairs(holdout, self.views, self.instruction, settings.seed + 1)
        fixed = [holdout_pairs[i] for i in range(len(holdout))]
        before = describe_views(encoder, fixed) if fixed else None
        pairs = ViewPairs(tuning, self.views, self.instruction, settings.seed)
        losses = tune(encoder, pairs, self.loss, temperature, settings, trainer)
        after = describe_views(encoder, fixed) if fixed else None
        for when, numbers in (("before", before), ("after", after)):
            if numbers:
                log.info("%-6s top-1 %.3f, cosine %.3f, uniformity %.3f", when, *numbers.values())
        base = Path(self.model).name if Path(self.model).is_dir() else self.model
        save_adapter(language_model(encoder), config, base, out)
        return {
            "trainable": n_trained,
            "bf16": bf16,
            "steps": trainer.global_step,
            "losses": losses,
            "temperature": temperature().item(),
            "equal_views": sum(a == b for a, b in fixed) / len(fixed) if fixed else None,
            "before": before,
            "after": after,
        }
