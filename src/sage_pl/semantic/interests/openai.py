"""Interests described by any service that speaks OpenAI's ``/chat/completions`` protocol."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import ClassVar

from sage_pl.semantic.interests import prompt
from sage_pl.semantic.interests.protocol import Groups
from sage_pl.semantic.service import Service, ServiceError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OpenAIDescriber:
    """One question per user, and a second one where the answer is of no use. The texts leave this machine; it may cost money.

    What fails for a passing reason is repeated, see :class:`sage_pl.semantic.service.Service`. When one question fails for
    good, those under way are still waited for and their answers handed on before the error is raised, so that they need not
    be paid again.

    Args:
        model: the model's name there.
        base_url: of the service; any that is compatible, e.g. one on this machine (vLLM, Ollama, llama.cpp).
        api_key_env: environment variable that holds the key.
        temperature: 0 for the likeliest answer.
        max_tokens: tokens of an answer, per group.
        concurrency: questions under way at once.
        max_retries: repetitions of one request.
        timeout: seconds to wait for an answer.

    Raises:
        ServiceError: no key, a refusal, or no answer.

    Reference: SAM asks Qwen-Turbo at temperature 0.3 for K interests from titles joined by commas; here the groups are asked
    about, one by one, in one question.
    """

    model: str
    base_url: str = "https://api.openai.com/v1"
    api_key_env: str = field(default="OPENAI_API_KEY", compare=False)
    temperature: float = 0.0
    max_tokens: int = 32
    concurrency: int = field(default=8, compare=False)
    max_retries: int = field(default=6, compare=False)
    timeout: float = field(default=60.0, compare=False)
    prompt_version: int = field(default=prompt.VERSION, init=False)

    libraries: ClassVar[tuple[str, ...]] = ()
    remembered: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.base_url.startswith(("http://", "https://")) or self.concurrency < 1:
            raise ValueError(
                f"steps.phrases.describer has base_url={self.base_url!r} and concurrency={self.concurrency}, wanted http://... "
                "or https://... and at least 1"
            )

    def describe(self, texts: Sequence[str], users: Sequence[Groups]) -> Iterator[tuple[int, list[str] | None]]:
        url = f"{self.base_url.rstrip('/')}/chat/completions"
        service = Service(url, self.api_key_env, self.max_retries, self.timeout, "describer=keywords")
        service.key()
        log.info("asking %s about %d users", self.base_url, len(users))
        with ThreadPoolExecutor(self.concurrency) as pool:
            asked: dict[Future[list[str] | None], int] = {}
            try:
                for row, groups in enumerate(users):
                    asked[pool.submit(self._ask, service, [[texts[i] for i in group] for group in groups])] = row
                yield from self._answers(asked)
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    @staticmethod
    def _answers(asked: dict[Future[list[str] | None], int]) -> Iterator[tuple[int, list[str] | None]]:
        failure: ServiceError | None = None
        for future in as_completed(asked):
            if future.cancelled():
                continue
            try:
                yield asked[future], future.result()
            except ServiceError as error:
                failure = failure or error
                for other in asked:
                    other.cancel()
        if failure is not None:
            raise failure

    def _ask(self, service: Service, groups: list[list[str]]) -> list[str] | None:
        question = prompt.question(groups)
        answer = self._complete(service, question, len(groups))
        found = prompt.phrases(answer, len(groups))
        if found is None:
            answer = self._complete(service, prompt.correction(question, answer, len(groups)), len(groups))
            found = prompt.phrases(answer, len(groups))
        return found

    def _complete(self, service: Service, messages: list[prompt.Message], n_groups: int) -> str:
        body = {"model": self.model, "messages": messages, "temperature": self.temperature}
        answer = service.ask({**body, "max_tokens": self.max_tokens * n_groups})
        try:
            return str(answer["choices"][0]["message"]["content"] or "")
        except (KeyError, IndexError, TypeError) as error:
            raise ServiceError(
                f"{service.url} answered without choices[0].message.content; is it a /chat/completions service?"
            ) from error
