"""An OpenAI-compatible service on this machine."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-secret"

CUT_OFF = {  # all that is sent
    "short": b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"choi',
    "short 503": b"HTTP/1.1 503 busy\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nla",
    "garbled": b"what?\r\n\r\n",
    "nothing": b"",
}


class Service(ThreadingHTTPServer):
    """Says ``content(body)``, after the failures it was told to begin with, and refuses after ``lives`` answers.

    ``requests`` are all it was asked, with path and key. A failure is a status and a body, or all that is sent. Content that
    is itself such a pair is said as it stands.
    """

    daemon_threads = True
    failures: list[tuple[int, bytes] | bytes]
    requests: list[dict]
    lives: int
    answer: Callable[..., Any]
    content: Callable[[dict], Any]
    retry_after: str
    url: str


class Handler(BaseHTTPRequestHandler):
    server: Service
    lock = threading.Lock()

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.lock:
            self.server.requests.append({**body, "path": self.path, "key": self.headers["Authorization"]})
            answer = self.server.failures.pop(0) if self.server.failures else None
            if answer is None and self.server.lives <= 0:
                answer = 401, b"out of credit"
            self.server.lives -= answer is None
        if answer is None:
            answer = self.server.content(body)
        with suppress(ConnectionError):  # who asked was killed
            self._say(answer)

    def _say(self, answer: Any) -> None:
        if isinstance(answer, bytes):
            self.wfile.write(answer)
            return
        status, content = answer if isinstance(answer, tuple) else (200, json.dumps(answer).encode())
        self.send_response(status)
        self.send_header("Retry-After", self.server.retry_after)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def running(content: Callable[[Service, dict], Any], path: str, retry_after: str) -> Iterator[Service]:
    """A service that answers while the block runs.

    Args:
        content: what it says to a request's body.
        path: of its base address.
        retry_after: seconds it asks for with every answer.
    """
    server = Service(("127.0.0.1", 0), Handler)
    server.failures, server.requests, server.lives = [], [], 1000
    server.content, server.retry_after = lambda body: content(server, body), retry_after
    server.url = f"http://127.0.0.1:{server.server_port}{path}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()
