"""What every request passes before the application sees it: token, form, size and time; and where it is counted."""

from __future__ import annotations

import asyncio
import hmac
import json
import time
from collections.abc import Collection

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sage_pl.service.metrics import Metrics
from sage_pl.service.settings import Settings

SLOW, _PATIENCE = ("/items",), 12  # a text encoder is loaded first
OPEN = ("/", "/health", "/openapi.json")  # without a token: they tell nothing of users and items


class RefusedError(Exception):
    """A request that is answered here."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Guard:
    """Refuses what no endpoint should read, ends what takes too long, and counts every answer.

    A browser sends JSON to another site only after that site agrees, so the content type keeps foreign pages out.

    Args:
        app: the application.
        settings: its limits.
        metrics: where requests are counted.
        paths: those that are counted by name.
    """

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics, paths: Collection[str]) -> None:
        self._app = app
        self._settings = settings
        self._metrics = metrics
        self._paths = frozenset(paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status = time.perf_counter(), 500

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._answer(scope, receive, counted)
        finally:
            path = scope["path"] if scope["path"] in self._paths else "other"
            self._metrics.requests.labels(path, status).inc()
            self._metrics.seconds.labels(path).observe(time.perf_counter() - start)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def noted(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        reading, seconds = True, self._settings.timeout * (_PATIENCE if scope["path"] in SLOW else 1)
        try:
            async with asyncio.timeout(seconds):
                self._check(scope)
                body = await self._body(receive) if scope["method"] in ("POST", "PUT", "PATCH") else b""
                reading = False
                await self._app(scope, _once(body, receive), noted)
        except RefusedError as refusal:
            await _refuse(send, refusal.status, str(refusal))
        except TimeoutError:
            if begun:
                raise
            if reading:
                await _refuse(send, 408, f"the request did not arrive within {seconds:g} seconds; send it again")
            else:
                await _refuse(send, 503, f"no answer within {seconds:g} seconds; send the request again later")

    def _check(self, scope: Scope) -> None:
        headers = {name.lower(): value for name, value in scope["headers"]}
        token = self._settings.token
        if token is not None and scope["path"] not in OPEN:
            scheme, _, sent = headers.get(b"authorization", b"").partition(b" ")
            if scheme.lower() != b"bearer" or not hmac.compare_digest(sent.strip(), token.encode()):
                raise RefusedError(401, "this server asks for a token; send the header Authorization: Bearer TOKEN")
        if scope["method"] == "POST":
            kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
            if kind != b"application/json":
                raise RefusedError(415, "the content type is not application/json; send JSON with that header")
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length[:20]) > self._settings.max_body:
            raise RefusedError(413, self._too_large())

    async def _body(self, receive: Receive) -> bytes:
        parts, size = [], 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise RefusedError(400, "the connection ended before the request did; send it again")
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self._settings.max_body:
                raise RefusedError(413, self._too_large())
            if not message.get("more_body", False):
                return b"".join(parts)

    def _too_large(self) -> str:
        return f"the request exceeds {self._settings.max_body:,} bytes; send it in parts"


def _once(body: bytes, receive: Receive) -> Receive:
    """A body that was read, then what the connection has to say."""
    sent = False

    async def again() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


async def _refuse(send: Send, status: int, reason: str) -> None:
    body = json.dumps({"detail": reason}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if status == 503:
        headers.append((b"retry-after", b"1"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
