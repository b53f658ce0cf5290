"""What a server is started with; a worker process reads it from the environment."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

PASSED = "SAGE_PL_SERVICE"  # the environment variable that hands the settings to worker processes
TOKEN = "SAGE_PL_TOKEN"  # that of the token, which no list of processes shows


@dataclass(frozen=True)
class Settings:
    """Places and limits of a server.

    Args:
        folder: of the export.
        store: the SQLite file of events and added items.
        lists: the file of kept lists; None for none.
        hosts: values of the header Host that are answered; empty for any.
        token: that a request must carry; None for none.
        max_k: items of a list at most.
        max_body: bytes of a request at most.
        timeout: seconds for a request, reading it included; 12 times as much where texts are encoded.
        most: queries that the model answers at once.
        waiting: queries that wait at most; further ones are refused with 503.
        follow: seconds between looks at the folder, the lists and the store.
    """

    folder: str
    store: str
    lists: str | None = None
    hosts: tuple[str, ...] = ()
    token: str | None = None
    max_k: int = 1000
    max_body: int = 1 << 20
    timeout: float = 10.0
    most: int = 64
    waiting: int = 4096
    follow: float = 0.5

    @property
    def place(self) -> Path:
        return Path(self.folder)

    def hand_over(self) -> None:
        """Write these settings into the environment of the worker processes; the token is there already."""
        os.environ[PASSED] = json.dumps({**asdict(self), "token": None})

    @classmethod
    def handed_over(cls) -> Settings:
        """Those of :meth:`hand_over`."""
        values = json.loads(os.environ[PASSED])
        return cls(**{**values, "hosts": tuple(values["hosts"]), "token": os.environ.get(TOKEN)})
