"""Item vectors from a service that speaks OpenAI's ``/embeddings`` protocol."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from sage_pl import hosts
from sage_pl.errors import SettingError
from sage_pl.ranges import Count, Positive, Retries
from sage_pl.semantic.embedders.protocol import Encode, TextEmbedder
from sage_pl.semantic.language_models.service import Service, ServiceError
from sage_pl.semantic.texts import each_once

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OpenAIEmbedder(TextEmbedder):
    """The vectors of all distinct texts from a service. The texts leave this machine, and it may cost money.

    The key is read from the environment, and is neither logged nor part of an artifact key. Temporary failures are retried, see
    :class:`sage_pl.semantic.language_models.service.Service`.

    Args:
        model: the service's name of the model (the reference takes text-embedding-ada-002).
        base_url: of any compatible service, e.g. a local one.
        api_key_env: environment variable of the key.
        batch_size: texts per request.
        max_retries: of one request.
        timeout: seconds to wait for an answer.

    Writes:
        ``table.npy`` float32 [R, D].

    Raises:
        ServiceError: no key, or no usable answer.
    """

    model: str = "text-embedding-ada-002"
    base_url: str = "https://api.openai.com/v1"
    api_key_env: str = field(default="OPENAI_API_KEY", compare=False)
    batch_size: Count = field(default=256, compare=False)
    max_retries: Retries = field(default=6, compare=False)
    timeout: Positive = field(default=60.0, compare=False)

    version: ClassVar[int] = 1
    libraries: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        if not self.base_url.startswith(("http://", "https://")):
            raise SettingError(f"steps.embed.base_url is {self.base_url!r}, wanted http://... or https://...")

    def fitted(self, known: Sequence[str]) -> Encode:
        url = f"{self.base_url.rstrip('/')}/embeddings"
        service = Service(url, self.api_key_env, self.max_retries, self.timeout, "embedder=minilm")
        service.key()
        return lambda texts: self._encoded(service, texts)

    def _encoded(self, service: Service, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        distinct, position = each_once(texts)
        log.info("requests to %s for the vectors of %d distinct texts", hosts.host_of(self.base_url), len(distinct))
        parts = [
            self._vectors(distinct[start : start + self.batch_size].tolist(), service)
            for start in range(0, len(distinct), self.batch_size)
        ]
        return np.concatenate(parts)[position]

    def _vectors(self, texts: list[str], service: Service) -> npt.NDArray[np.float32]:
        answer = service.ask({"model": self.model, "input": texts, "encoding_format": "float"})
        try:
            rows = {row["index"]: row["embedding"] for row in answer["data"]}
            vectors = np.asarray([rows[i] for i in range(len(texts))], dtype=np.float32)
        except (KeyError, TypeError, ValueError) as error:
            raise ServiceError(
                f"{self.base_url} answered without one vector per text ({len(texts)} asked for); is it an /embeddings service?"
            ) from error
        if vectors.ndim != 2 or not np.isfinite(vectors).all():
            raise ServiceError(f"{self.base_url} answered with vectors that are not finite numbers of one width")
        return vectors
