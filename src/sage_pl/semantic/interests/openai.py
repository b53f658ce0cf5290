"""Interests described by any service that speaks OpenAI's ``/chat/completions`` protocol."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

from sage_pl import hosts
from sage_pl.errors import SettingError
from sage_pl.ranges import Count, Positive, Retries, Warmth
from sage_pl.semantic.interests import prompt
from sage_pl.semantic.interests.protocol import Groups
from sage_pl.semantic.language_models.requests import Requests
from sage_pl.semantic.language_models.service import RefusalError, Service, ServiceError

log = logging.getLogger(__name__)

PATIENCE = 50  # unusable answers in a row
TRIAL = [["green tea", "black tea"]]  # a harmless request


class _Answer(NamedTuple):
    phrases: list[str] | None
    problem: str = ""  # without phrases


@dataclass(frozen=True)
class OpenAIDescriber:
    """One request per user, and a correction of an unusable answer. The texts leave this machine, and it may cost money.

    Temporary failures are retried, see :class:`~sage_pl.semantic.language_models.service.Service`. A refusal of one request
    (400, 413, 422, an answer without a message, e.g. of a content filter) is an unusable answer, and so is a malformed one
    whose correction is malformed or fails.

    Unusable answers are yielded once a usable one proves that the service works: one after them, or one before fewer than 50
    of them. Without any usable answer, a trial request decides. 50 in a row end the run and are not yielded, so that the next
    run repeats their requests.

    Answers that arrived, and those under way, are yielded before an early end (Ctrl-C included) is raised, see
    :class:`sage_pl.semantic.language_models.requests.Requests`.

    Args:
        model: the service's name of the model.
        base_url: of any compatible service, e.g. a local one (vLLM, Ollama, llama.cpp).
        api_key_env: environment variable of the key.
        temperature: 0 for the likeliest answer.
        max_tokens: tokens of an answer, per group.
        concurrency: requests at once.
        max_retries: of one request.
        timeout: seconds to wait for an answer.
        prompt_version: see :func:`sage_pl.semantic.interests.prompt.phrases`.

    Raises:
        ServiceError: no key, a refusal of all requests (401, 403, 404, ...), no answer, or no usable one.

    Reference: SAM has Qwen-Turbo write K interests at temperature 0.3 from titles joined by commas. Differs: one request lists
    a user's groups, and the answer has a phrase for each.
    """

    model: str
    base_url: str = "https://api.openai.com/v1"
    api_key_env: str = field(default="OPENAI_API_KEY", compare=False)
    temperature: Warmth = 0.0
    max_tokens: Count = 32
    concurrency: Count = field(default=8, compare=False)
    max_retries: Retries = field(default=6, compare=False)
    timeout: Positive = field(default=60.0, compare=False)
    prompt_version: Count = 1

    libraries: ClassVar[tuple[str, ...]] = ()
    stores_answers: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.base_url.startswith(("http://", "https://")) or self.concurrency < 1:
            raise SettingError(
                f"steps.phrases.describer has base_url={self.base_url!r} and concurrency={self.concurrency}, wanted http://... "
                "or https://... and at least 1"
            )

    def describe(self, texts: Sequence[str], users: Sequence[Groups]) -> Iterator[tuple[int, list[str] | None]]:
        url = f"{self.base_url.rstrip('/')}/chat/completions"
        service = Service(url, self.api_key_env, self.max_retries, self.timeout, "describer=keywords")
        service.key()
        log.info("requests to %s about %d users", hosts.host_of(self.base_url), len(users))

        def ask(row: int) -> _Answer:
            return self._ask(service, [[texts[i] for i in group] for group in users[row]])

        requests = Requests(ask, len(users), self.concurrency)
        usable, doubtful, problem = False, list[int](), ""
        for row, answer in requests:
            if answer.phrases is None:
                problem = answer.problem
                log.info("no usable answer for a user: %s", problem)
                doubtful.append(row)
                if len(doubtful) == PATIENCE:
                    requests.end(self._useless(service, f"the last {PATIENCE} users", problem))
                continue
            yield from ((other, None) for other in doubtful)
            usable, doubtful = True, []
            yield row, answer.phrases
        if doubtful and not usable and requests.failure is None:
            usable = self._ask(service, TRIAL).phrases is not None
            if not usable:
                raise self._useless(service, f"{len(doubtful)} of {len(users)} users or a trial", problem)
        if usable and len(doubtful) < PATIENCE:
            yield from ((other, None) for other in doubtful)
        if requests.failure is not None:
            raise requests.failure

    def _useless(self, service: Service, whom: str, problem: str) -> ServiceError:
        return ServiceError(
            f"{service.url} gave no usable answer for {whom}; the last problem: {problem}; take "
            f"another model than {self.model!r}, longer answers (steps.phrases.describer.max_tokens is {self.max_tokens}), "
            f"or {service.instead}"
        )

    def _ask(self, service: Service, groups: list[list[str]]) -> _Answer:
        question = prompt.question(groups)
        try:
            answer = self._complete(service, question, len(groups))
        except RefusalError as error:
            return _Answer(None, str(error))
        if phrases := prompt.phrases(answer, len(groups), self.prompt_version):
            return _Answer(phrases)
        try:
            answer = self._complete(service, prompt.correction(question, answer, len(groups)), len(groups))
        except ServiceError as error:  # a refusal of all requests recurs with the next one
            return _Answer(None, f"{answer[:200]!r} is not {len(groups)} lines, and a correction failed: {error}")
        phrases = prompt.phrases(answer, len(groups), self.prompt_version)
        return _Answer(phrases, "" if phrases else f"{answer[:200]!r} is not {len(groups)} lines")

    def _complete(self, service: Service, messages: list[prompt.Message], n_groups: int) -> str:
        body = {"model": self.model, "messages": messages, "temperature": self.temperature}
        answer = service.ask({**body, "max_tokens": self.max_tokens * n_groups})
        try:
            return str(answer["choices"][0]["message"]["content"] or "")
        except (KeyError, IndexError, TypeError) as error:
            raise RefusalError(
                f"{service.url} answered without choices[0].message.content (is it a /chat/completions service?): "
                f"{str(answer)[:200]}".replace(service.key(), "***")
            ) from error
