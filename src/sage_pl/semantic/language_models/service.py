"""JSON requests to a service on the network, with retries."""

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

from sage_pl import hosts
from sage_pl.errors import UserError
from sage_pl.ranges import Positive, Retries

log = logging.getLogger(__name__)

LONGEST_PAUSE = 60.0
TEMPORARY = {408, 409, 429}  # and 5xx
OF_ONE_REQUEST = {400, 413, 422}


class ServiceError(UserError, RuntimeError):
    """A service is unavailable, or its answer is malformed."""


class RefusalError(ServiceError):
    """A service refuses one request; others may succeed."""


@dataclass(frozen=True)
class Service:
    """One address for JSON requests. Their content leaves this machine, and they may cost money.

    The key is read from the environment for each request, and is neither logged nor sent to another host. The host must be one
    that the process may contact (:mod:`sage_pl.hosts`). Requests that fail
    temporarily (408, 409, 429, 5xx, no connection, a truncated or garbled answer) are retried after 1, 2, 4, ... seconds or
    after the service's ``Retry-After``, at most a minute.

    Args:
        url: of the requests, ``http://`` or ``https://``.
        key_env: environment variable of the key.
        max_retries: of one request.
        timeout: seconds to wait for an answer.
        instead: the alternative named in messages.
    """

    url: str
    key_env: str
    max_retries: Retries
    timeout: Positive
    instead: str

    def key(self) -> str:
        """The key.

        Raises:
            HostError: the process may not contact the host.
            ServiceError: the variable is empty.
        """
        hosts.require(self.url)
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
            ServiceError: no key, any other refusal (401, 403, 404, ...), or no answer after all retries.
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
                problem = f"{error.code} {error.reason}: {_body(error)}".replace(key, "***")
                if error.code not in TEMPORARY and error.code < 500:
                    refused = RefusalError if error.code in OF_ONE_REQUEST else ServiceError
                    raise refused(
                        f"{self.url} refused {body.get('model')!r}: {problem}; check the key in {self.key_env}, the model's "
                        f"name, its settings and the address, or take another, e.g. {self.instead}"
                    ) from error
                pause = _pause(error.headers.get("Retry-After"), pause)
            except (OSError, ValueError, http.client.HTTPException) as error:
                problem = f"{type(error).__name__}: {error}".replace(key, "***")
            if attempt < self.max_retries:
                log.warning("%s: %s; retrying in %.1f s", self.url, problem, pause)
                time.sleep(pause)
        raise ServiceError(f"{self.url} did not answer {self.max_retries + 1} requests; last problem: {problem}")


def _body(error: urllib.error.HTTPError) -> str:
    """The beginning of a refusal's body; empty where it is truncated."""
    try:
        return error.read(500).decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return ""


def _pause(header: str | None, default: float) -> float:
    """Seconds of a ``Retry-After`` header, at most a minute."""
    try:
        return min(max(0.0, float(header or default)), LONGEST_PAUSE)
    except ValueError:  # a date
        return default
