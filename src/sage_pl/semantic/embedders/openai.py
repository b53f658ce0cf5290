"""Item vectors from a service that speaks OpenAI's ``/embeddings`` protocol."""

from __future__ import annotations

import json
import logging
import os
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from sage_pl.artifacts import Artifact
from sage_pl.semantic.tables import padded

log = logging.getLogger(__name__)

LONGEST_PAUSE = 60.0


class EmbeddingServiceError(RuntimeError):
    """The embedding service cannot be asked, or does not answer as it should."""


@dataclass(frozen=True)
class OpenAIEmbedder:
    """Asks a service for the vectors of all distinct texts. The texts leave this machine, and it may cost money.

    The key is read from the environment when it is needed, and is neither logged nor part of an artifact key. Requests that
    fail for a passing reason (429, 5xx, no connection) are repeated after 1, 2, 4, ... seconds or as long as the
    service asks for.

    Args:
        model: the model's name there (the reference takes text-embedding-ada-002).
        base_url: of the service; any that is compatible, e.g. one on this machine.
        api_key_env: environment variable that holds the key.
        batch_size: texts per request.
        max_retries: repetitions of one request.
        timeout: seconds to wait for an answer.

    Writes:
        ``table.npy`` float32 [R, D].

    Raises:
        EmbeddingServiceError: no key, or no usable answer.
    """

    model: str = "text-embedding-ada-002"
    base_url: str = "https://api.openai.com/v1"
    api_key_env: str = field(default="OPENAI_API_KEY", compare=False)
    batch_size: int = field(default=256, compare=False)
    max_retries: int = field(default=6, compare=False)
    timeout: float = field(default=60.0, compare=False)

    name: ClassVar[str] = "embed"
    version: ClassVar[int] = 1
    inputs: ClassVar[tuple[str, ...]] = ("texts",)
    libraries: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        if not self.base_url.startswith(("http://", "https://")):
            raise ValueError(f"steps.embed.base_url is {self.base_url!r}, wanted http://... or https://...")

    def run(self, inputs: Mapping[str, Artifact], out: Path) -> None:
        texts = inputs["texts"].frame("texts").sort("item")["text"].to_list()
        np.save(out / "table.npy", padded(self.encode(texts)))

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """One row per text, in the order given, float32 [len(texts), D]."""
        key = os.environ.get(self.api_key_env)
        if not key:
            raise EmbeddingServiceError(
                f"the environment variable {self.api_key_env} holds no key for {self.base_url}; set it "
                "(any text for a service without keys), or take another embedder, e.g. embedder=minilm"
            )
        distinct, position = np.unique(np.asarray(texts, dtype=object), return_inverse=True)
        log.info("asking %s for the vectors of %d distinct texts", self.base_url, len(distinct))
        parts = [
            self._vectors(distinct[start : start + self.batch_size].tolist(), key)
            for start in range(0, len(distinct), self.batch_size)
        ]
        vectors = np.concatenate(parts)
        return vectors[position]

    def _vectors(self, texts: list[str], key: str) -> npt.NDArray[np.float32]:
        answer = self._ask({"model": self.model, "input": texts, "encoding_format": "float"}, key)
        try:
            rows = {row["index"]: row["embedding"] for row in answer["data"]}
            vectors = np.asarray([rows[i] for i in range(len(texts))], dtype=np.float32)
        except (KeyError, TypeError, ValueError) as error:
            raise EmbeddingServiceError(
                f"{self.base_url} answered without one vector per text ({len(texts)} asked for); is it an /embeddings service?"
            ) from error
        if vectors.ndim != 2 or not np.isfinite(vectors).all():
            raise EmbeddingServiceError(
                f"{self.base_url} answered with vectors that are not finite numbers of one width"
            )
        return vectors

    def _ask(self, body: Mapping[str, Any], key: str) -> Any:
        request = urllib.request.Request(
            f"{self.base_url.rstrip('/')}/embeddings", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        request.add_unredirected_header("Authorization", f"Bearer {key}")  # never handed on to another host
        for attempt in range(self.max_retries + 1):
            pause = min(2.0**attempt, LONGEST_PAUSE)
            try:
                with urllib.request.urlopen(request, timeout=self.timeout) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                problem = f"{error.code} {error.reason}: {error.read(500).decode(errors='replace').replace(key, '***')}"
                if error.code != 429 and error.code < 500:
                    raise EmbeddingServiceError(f"{self.base_url} refused {self.model!r}: {problem}") from error
                pause = _wanted_pause(error.headers.get("Retry-After"), pause)
            except (OSError, json.JSONDecodeError) as error:  # no connection, timeout, or a broken answer
                problem = str(error)
            if attempt < self.max_retries:
                log.warning("%s: %s; asking again in %.1f s", self.base_url, problem, pause)
                time.sleep(pause)
        raise EmbeddingServiceError(
            f"{self.base_url} did not answer {self.max_retries + 1} requests; last problem: {problem}"
        )


def _wanted_pause(header: str | None, default: float) -> float:
    """The seconds a service asks to be left alone, at most a minute."""
    try:
        return min(float(header or default), LONGEST_PAUSE)
    except ValueError:  # a date
        return default
