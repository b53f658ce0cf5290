"""Asking a service on the network, with patience."""

from __future__ import annotations

import json
import logging
import os
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

log = logging.getLogger(__name__)

LONGEST_PAUSE = 60.0


class ServiceError(RuntimeError):
    """A service cannot be asked, or does not answer as it should."""


@dataclass(frozen=True)
class Service:
    """One address that takes and gives JSON. What is asked leaves this machine, and it may cost money.

    The key is read from the environment when it is needed, and is neither logged nor handed on to another host. Requests that
    fail for a passing reason (429, 5xx, no connection, a broken answer) are repeated after 1, 2, 4, ... seconds or as long
    as the service asks for.

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
        if key := os.environ.get(self.key_env):
            return key
        raise ServiceError(
            f"the environment variable {self.key_env} holds no key for {self.url}; set it "
            f"(any text for a service without keys), or take another, e.g. {self.instead}"
        )

    def ask(self, body: Mapping[str, Any]) -> Any:
        """The answer to one request.

        Raises:
            ServiceError: no key, a refusal, or no answer after all repetitions.
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
                problem = f"{error.code} {error.reason}: {error.read(500).decode(errors='replace').replace(key, '***')}"
                if error.code != 429 and error.code < 500:
                    raise ServiceError(f"{self.url} refused {body.get('model')!r}: {problem}") from error
                pause = _wanted_pause(error.headers.get("Retry-After"), pause)
            except (OSError, ValueError) as error:  # no connection, timeout, or a broken answer
                problem = str(error)
            if attempt < self.max_retries:
                log.warning("%s: %s; asking again in %.1f s", self.url, problem, pause)
                time.sleep(pause)
        raise ServiceError(f"{self.url} did not answer {self.max_retries + 1} requests; last problem: {problem}")


def _wanted_pause(header: str | None, default: float) -> float:
    """The seconds a service asks to be left alone, at most a minute."""
    try:
        return min(float(header or default), LONGEST_PAUSE)
    except ValueError:  # a date
        return default
