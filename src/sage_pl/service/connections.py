"""Connections that must carry a request: one that only begins it is ended, so that slow clients do not take every place."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

PROTOCOL = f"{__name__}:Punctual"  # as uvicorn imports it


class Punctual(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """uvicorn's protocol, which waits without end for the rest of a header.

    A header must be there ``timeout_keep_alive`` seconds after the connection, or after its first byte on a connection that
    had a request before; :class:`sage_pl.service.guard.Guard` limits what follows it.
    """

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def _watch(self) -> None:
        if not self._waits():
            self._forget()
        elif self._timer is None:
            self._timer = self.loop.call_later(self.timeout_keep_alive, self._end)

    def _waits(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def _end(self) -> None:
        if self._waits() and not self.transport.is_closing():
            self.transport.close()

    def _forget(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
