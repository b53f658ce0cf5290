"""Item vectors from a text encoder with tuned adapters."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from sage_pl.artifacts.files import file_digest
from sage_pl.artifacts.store import Artifact
from sage_pl.ranges import Count
from sage_pl.semantic.embedders.protocol import Encode
from sage_pl.semantic.language_models.batches import encode
from sage_pl.semantic.language_models.loading import ModelError, find_model, language_model, load_encoder
from sage_pl.semantic.language_models.weights import settings_of, weights_in
from sage_pl.semantic.scft.lora import CONFIG, REPORT, WEIGHTS, load_adapter
from sage_pl.semantic.scft.views import instructed
from sage_pl.semantic.tables import padded
from sage_pl.semantic.texts import item_texts

FILES = (CONFIG, WEIGHTS, REPORT)


@dataclass(frozen=True)
class TunedEmbedder:
    """Encodes every item's whole text with the encoder and the adapters of an ``scft`` artifact.

    Args:
        adapter: folder of an existing ``scft`` artifact, of any data; None tunes one on these
            (:class:`sage_pl.semantic.scft.step.Scft`). The key of the result depends on the folder's content alone.
        model: the adapters' base model, for a folder that has moved; None takes the path or name of the tuning.
        normalize: scale vectors to norm 1.
        max_tokens: tokens kept of a text; None keeps as many as in tuning.
        batch_tokens: padded tokens of a batch; changes the result by rounding alone.
        device: None takes an accelerator if there is one.
        offline: refuse to download.

    Writes:
        ``table.npy`` float32 [R, D].

    Raises:
        ModelError: the model or peft is missing, the adapters belong to another model or to other weights of it, or their
            folder lacks a file.

    Reference: LLMEmb code, which does not normalise.
    """

    adapter: str | None = field(default=None, compare=False)
    model: str | None = None
    normalize: bool = True
    max_tokens: Count | None = None
    batch_tokens: Count = field(default=4096, compare=False)
    device: str | None = field(default=None, compare=False)
    offline: bool = field(default=False, compare=False)

    name: ClassVar[str] = "embed"
    version: ClassVar[int] = 1
    libraries: ClassVar[tuple[str, ...]] = ("sentence-transformers", "transformers")

    @property
    def inputs(self) -> tuple[str, ...]:
        return ("texts",) if self.adapter else ("texts", "scft")

    def fingerprint(self) -> dict[str, Any]:
        """The settings for artifact keys, with the hashes of the adapter's files."""
        if self.adapter is None:
            return settings_of(self)
        folder = _complete(Path(self.adapter))
        return {**settings_of(self), "adapter": {name: file_digest(folder / name) for name in FILES}}

    def run(self, inputs: Mapping[str, Artifact], out: Path) -> None:
        folder = Path(self.adapter) if self.adapter else inputs["scft"].path
        np.save(out / "table.npy", padded(self._encoder(folder)(item_texts(inputs["texts"]))))

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """One row per text, in their order, float32 [len(texts), D]; errors are those of :meth:`fitted`."""
        return self.fitted(texts)(texts)

    def fitted(self, known: Sequence[str]) -> Encode:
        """What encodes any texts; the model is loaded here, once for all calls.

        Raises:
            ModelError: ``adapter`` is not set.
        """
        if self.adapter is None:
            raise ModelError(
                "the adapter that encodes the texts is not at hand: outputs/artifacts/scft/KEY, which steps.scft made; name a "
                "copy of that folder with +overrides.steps.embed.adapter=FOLDER"
            )
        return self._encoder(Path(self.adapter))

    def _encoder(self, adapter: Path) -> Encode:
        folder = _complete(adapter)
        report = json.loads((folder / REPORT).read_text())
        settings, model = report["settings"], self.model or report["model"]
        _check_base(report, model, folder)
        encoder = load_encoder(
            model,
            settings["pooling"],
            self.max_tokens or settings["max_tokens"],
            report["bf16"] if "bf16" in report else settings["training"]["bf16"],  # older reports
            self.device,
            self.offline,
        )
        load_adapter(language_model(encoder), folder)
        encoder.eval()

        def encoded(texts: Sequence[str]) -> npt.NDArray[np.float32]:
            whole = [instructed(text, settings["instruction"]) for text in texts]
            return encode(encoder, whole, self.normalize, self.batch_tokens)

        return encoded


def _complete(folder: Path) -> Path:
    if missing := [name for name in FILES if not (folder / name).is_file()]:
        raise ModelError(
            f"{folder} lacks {', '.join(missing)}; steps.embed.adapter=FOLDER wants all that steps.scft wrote: a folder "
            "outputs/artifacts/scft/KEY, here or copied from elsewhere"
        )
    return folder


def _check_base(report: Mapping[str, Any], model: str, folder: Path) -> None:
    tuned, current = report.get("weights") or {}, weights_in(find_model(model)[0])
    if tuned and current:
        same = sorted(tuned.values()) == sorted(current.values())
    else:  # a model on the hub has a name alone
        same = bool(tuned or current) or model == report["model"]
    if not same:
        raise ModelError(
            f"the adapter in {folder} was tuned on {report['model']} ({_short(tuned)}), not on {model} ({_short(current)}); "
            "name its base model with steps.embed.model=NAME or FOLDER, or leave out steps.embed.adapter and tune this one "
            "with steps.scft.model=NAME or FOLDER"
        )


def _short(weights: Mapping[str, str]) -> str:
    return ", ".join(f"{name} sha256 {digest[:12]}" for name, digest in weights.items()) or "weights on the hub"
