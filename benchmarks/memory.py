"""Resident memory of this process, watched while it works: its own pages and those of mapped files."""

from __future__ import annotations

import threading
from pathlib import Path

_KINDS = {"own MB": "RssAnon", "files MB": "RssFile"}


def resident() -> dict[str, float]:
    """MiB in memory now: ``own`` pages, and pages of mapped ``files``, which the system may take back at any time."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {name: int(fields[field].split()[0]) / 1024 for name, field in _KINDS.items()}


class Watch:
    """``with Watch() as watch: ...; watch.peak``: the largest of each kind and of their sum, looked at 100 times a second."""

    def __enter__(self) -> Watch:
        self.peak = dict.fromkeys((*_KINDS, "resident MB"), 0.0)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _look(self) -> None:
        last = False
        while not last:
            last = self._done.wait(0.01)
            now = resident()
            now["resident MB"] = sum(now.values())
            self.peak = {name: max(value, now[name]) for name, value in self.peak.items()}
