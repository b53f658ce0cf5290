"""Asking a service on the network, with patience."""

from __future__ import annotations

import http.client
import json
import logging
import os
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sage_pl.errors import UserError

log = logging.getLogger(__name__)

LONGEST_PAUSE = 60.0
PASSING = {408, 409, 429}  # and 5xx
OF_ONE_REQUEST = {400, 413, 422}


class ServiceError(UserError, RuntimeError):
    """A service cannot be asked, or does not answer as it should."""


class RefusalError(ServiceError):
    """A service does not answer this request; it may answer others."""


@dataclass(frozen=True)
class Service:
    """One address that takes and gives JSON. What is asked leaves this machine, and it may cost money.

    The key is read from the environment when it is needed, and is neither logged nor handed on to another host. Requests that
    fail for a passing reason (408, 409, 429, 5xx, no connection, an answer cut off or garbled) are repeated after 1, 2, 4,
    ... seconds or as long as the service asks for.

    Args:
        url: where requests are posted, ``http://`` or ``https://``.
        key_env: environment variable that holds the key.
        max_retries: repetitions of one request.
        timeout: seconds to wait for an answer.
        instead: what to choose where there is no key, for the message.
    """

    url: str
    key_env: str
    max_retries: int
    timeout: float
    instead: str

    def key(self) -> str:
        """The key.

        Raises:
            ServiceError: there is none.
        """
        if key := os.environ.get(self.key_env, "").strip():
            return key
        raise ServiceError(
            f"the environment variable {self.key_env} holds no key for {self.url}; set it "
            f"(any text for a service without keys), or take another, e.g. {self.instead}"
        )

    def ask(self, body: Mapping[str, Any]) -> Any:
        """The answer to one request.

        Raises:
            RefusalError: the request is at fault (400, 413, 422).
            ServiceError: no key, any other refusal (401, 403, 404, ...), or no answer after all repetitions.
        """
        key = self.key()
        request = urllib.request.Request(self.url, json.dumps(body).encode(), {"Content-Type": "application/json"})
        request.add_unredirected_header("Authorization", f"Bearer {key}")
        for attempt in range(self.max_retries + 1):
            pause = min(2.0**attempt, LONGEST_PAUSE)
            try:
                with urllib.request.urlopen(request, timeout=self.timeout) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                problem = f"{error.code} {error.reason}: {_words(error)}".replace(key, "***")
                if error.code not in PASSING and error.code < 500:
                    refused = RefusalError if error.code in OF_ONE_REQUEST else ServiceError
                    raise refused(
                        f"{self.url} refused {body.get('model')!r}: {problem}; check the key in {self.key_env}, the model's "
                        f"name, its settings and the address, or take another, e.g. {self.instead}"
                    ) from error
                pause = _wanted_pause(error.headers.get("Retry-After"), pause)
            except (OSError, ValueError, http.client.HTTPException) as error:
                problem = f"{type(error).__name__}: {error}".replace(key, "***")
            if attempt < self.max_retries:
                log.warning("%s: %s; asking again in %.1f s", self.url, problem, pause)
                time.sleep(pause)
        raise ServiceError(f"{self.url} did not answer {self.max_retries + 1} requests; last problem: {problem}")


def _words(error: urllib.error.HTTPError) -> str:
    """The beginning of what a service says to its refusal; nothing where that is cut off."""
    try:
        return error.read(500).decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return ""


def _wanted_pause(header: str | None, default: float) -> float:
    """The seconds a service asks to be left alone, at most a minute."""
    try:
        return min(max(0.0, float(header or default)), LONGEST_PAUSE)
    except ValueError:  # a date
        return default
