"""A real server in a process of its own."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Server:
    """``sage-pl COMMAND`` and its address."""

    def __init__(self, log: Path, *arguments: str, **environment: str) -> None:
        self.port, self.log = free_port(), log
        variables = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}", "PYTHONUNBUFFERED": "1", **environment}
        command = [sys.executable, "-m", "sage_pl", *arguments, "--port", str(self.port)]
        with log.open("wb") as stream:
            self.process = subprocess.Popen(command, stdout=stream, stderr=stream, env=variables)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def wait(self, path: str = "/health", seconds: float = 120) -> None:
        """Until it answers."""
        import httpx2

        end = time.monotonic() + seconds
        while time.monotonic() < end:
            assert self.process.poll() is None, self.log.read_text()
            try:
                if httpx2.get(self.url + path, timeout=5).status_code == 200:
                    return
            except httpx2.HTTPError:
                time.sleep(0.1)
        raise TimeoutError(self.log.read_text())

    def stop(self, sign: int = signal.SIGTERM) -> int:
        """End it; its exit status."""
        self.process.send_signal(sign)
        return self.process.wait(60)

    def processor(self) -> float:
        """Seconds of processor time of the process so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> float:
        """MiB of the process and its children that are no file's."""
        pids = [self.process.pid]
        for pid in pids:
            children = Path(f"/proc/{pid}/task/{pid}/children")
            pids += [int(child) for child in children.read_text().split()] if children.is_file() else []
        texts = [Path(f"/proc/{pid}/status").read_text() for pid in pids]
        return sum(int(match[1]) for text in texts if (match := re.search(r"RssAnon:\s+(\d+)", text))) / 1024


@contextmanager
def server(log: Path, *arguments: str, **environment: str) -> Iterator[Any]:
    """A server that answers, ended whatever happens."""
    started = Server(log, *arguments, **environment)
    try:
        started.wait()
        yield started
    finally:
        if started.process.poll() is None:
            started.process.kill()
            started.process.wait()
