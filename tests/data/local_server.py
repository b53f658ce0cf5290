"""A server on 127.0.0.1 that answers as a test wants: whole, in parts, cut, slow, or with something else."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server(ThreadingHTTPServer):
    """``files`` by path; ``faults``: what goes wrong with the next requests, in turn: a name, or ``cut:N`` bytes."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.faults: list[str] = []
        self.requests: list[tuple[str, str, str | None]] = []  # method, path, Range
        self.tag: str | None = '"v1"'

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{path}"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        path, asked = self.path.lstrip("/"), self.headers.get("Range")
        self.server.requests.append((self.command, path, asked))
        fault = self.server.faults.pop(0) if body and self.server.faults else ""
        if path not in self.server.files or fault.isdigit():
            self.send_error(int(fault or 404))
            return
        content, begun = self.server.files[path], 0
        if asked and fault != "no ranges" and self.headers.get("If-Range") == self.server.tag:
            begun = int(asked.removeprefix("bytes=").rstrip("-"))
        if begun > len(content):
            self.send_error(416)
            return
        self.send_response(206 if begun else 200)
        if fault == "web page":
            self.send_header("Content-Type", "text/html; charset=utf-8")
            content = b"<html>please sign in</html>"
        if begun:
            self.send_header("Content-Range", f"bytes {begun}-{len(content) - 1}/{len(content)}")
        if self.server.tag:
            self.send_header("ETag", self.server.tag)
        if fault != "no length":
            self.send_header("Content-Length", str(len(content) - begun))
        self.end_headers()
        rest = content[begun:]
        if fault == "stalls":
            self.wfile.write(rest[: len(rest) // 2])
            self.wfile.flush()
            time.sleep(2)
        elif body:
            self.wfile.write(rest[: int(fault[4:])] if fault.startswith("cut:") else rest)
        self.close_connection = True


@contextmanager
def serving() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
