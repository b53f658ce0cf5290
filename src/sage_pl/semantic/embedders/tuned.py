"""Item vectors from a text encoder with tuned adapters."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np

from sage_pl.artifacts import Artifact
from sage_pl.semantic.embedders.sentence import encode
from sage_pl.semantic.scft.encoder import language_model, load_encoder
from sage_pl.semantic.scft.lora import load_adapter
from sage_pl.semantic.scft.views import instructed
from sage_pl.semantic.tables import padded
from sage_pl.semantic.texts import item_texts


@dataclass(frozen=True)
class TunedEmbedder:
    """Encodes every item's whole text with the encoder and the adapters of an ``scft`` artifact.

    Args:
        model: the adapters' base model; None takes the one they were tuned on. A folder that has moved is named here.
        normalize: scale vectors to norm 1.
        max_tokens: tokens kept of a text; None keeps as many as in tuning.
        batch_tokens: padded tokens worked on at once; does not change the result beyond rounding.
        device: where to compute; None takes an accelerator if there is one.
        offline: refuse to download.

    Writes:
        ``table.npy`` float32 [R, D].

    Raises:
        ModelError: the model or peft is not to be had, or the adapters belong to another model.

    Reference: LLMEmb code, which does not normalise.
    """

    model: str | None = None
    normalize: bool = True
    max_tokens: int | None = None
    batch_tokens: int = field(default=4096, compare=False)
    device: str | None = field(default=None, compare=False)
    offline: bool = field(default=False, compare=False)

    name: ClassVar[str] = "embed"
    version: ClassVar[int] = 1
    inputs: ClassVar[tuple[str, ...]] = ("texts", "scft")
    libraries: ClassVar[tuple[str, ...]] = ("sentence-transformers", "transformers")

    def run(self, inputs: Mapping[str, Artifact], out: Path) -> None:
        folder = inputs["scft"].path
        report = json.loads((folder / "scft.json").read_text())
        settings = report["settings"]
        encoder = load_encoder(
            self.model or report["model"],
            settings["pooling"],
            self.max_tokens or settings["max_tokens"],
            settings["training"]["bf16"],
            self.device,
            self.offline,
        )
        load_adapter(language_model(encoder), folder)
        texts = [instructed(text, settings["instruction"]) for text in item_texts(inputs["texts"])]
        np.save(out / "table.npy", padded(encode(encoder.eval(), texts, self.normalize, self.batch_tokens)))
