"""A connection without a whole header is ended; those with requests are kept."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.service.server import free_port

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n"


async def answer(scope: Any, receive: Any, send: Any) -> None:
    import asyncio

    await asyncio.sleep(1.5)  # longer than a header may take
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@contextmanager
def server() -> Iterator[int]:
    uvicorn: Any = pytest.importorskip("uvicorn")
    from sage_pl.service.connections import PROTOCOL

    port = free_port()
    config = uvicorn.Config(answer, port=port, http=PROTOCOL, timeout_keep_alive=1, log_level="error", lifespan="off")
    served = uvicorn.Server(config)
    thread = threading.Thread(target=served.run)
    thread.start()
    while not served.started:
        time.sleep(0.01)
    yield port
    served.should_exit = True
    thread.join()


def test_only_a_whole_header_keeps_a_connection() -> None:
    with server() as port:
        silent, slow, again, good = (socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(4))
        start = time.monotonic()
        slow.sendall(REQUEST)
        again.sendall(REQUEST + b"\r\n")
        good.sendall(REQUEST + b"\r\n")
        assert silent.recv(9) == slow.recv(9) == b"", "ended by the server"
        assert 0.5 < time.monotonic() - start < 1.4
        assert good.recv(999).endswith(b"ok"), "an answer may take longer than a header"
        good.sendall(REQUEST + b"\r\n")
        assert good.recv(999).endswith(b"ok"), "and a second one"
        assert again.recv(999).endswith(b"ok")
        for one in (silent, slow, again, good):
            one.close()


def test_a_slow_second_header_ends_a_connection() -> None:
    with server() as port, socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(REQUEST + b"\r\n")
        assert client.recv(999).endswith(b"ok")
        client.sendall(REQUEST)
        start = time.monotonic()
        assert client.recv(9) == b""
        assert time.monotonic() - start < 2
