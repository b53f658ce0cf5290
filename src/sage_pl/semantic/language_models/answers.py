"""Answers that were slow or paid for, kept by the hash of what was asked."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from sage_pl.artifacts.identity import identity


class Answers:
    """A file of answers, each stored the moment it comes, so that neither a crash nor other settings ask for it again.

    Args:
        file: made if it is missing; several processes may use it.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        with closing(self._open()) as connection, connection:
            connection.execute("CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, phrases TEXT NOT NULL)")

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(self.file, timeout=60)

    @staticmethod
    def key(describer: Any, groups: Sequence[Sequence[str]]) -> str:
        """Hash of who is asked, with all settings that change an answer, and of the full texts of one user's groups."""
        asked = json.dumps([type(describer).__qualname__, identity(describer), groups])
        return hashlib.sha256(asked.encode()).hexdigest()

    def read(self, keys: Sequence[str]) -> dict[str, list[str] | None]:
        """The known ones; None where an answer was of no use."""
        known = {}
        with closing(self._open()) as connection:
            for key in keys:
                if row := connection.execute("SELECT phrases FROM answers WHERE key = ?", (key,)).fetchone():
                    known[key] = json.loads(row[0])
        return known

    def write(self, key: str, phrases: list[str] | None) -> None:
        with closing(self._open()) as connection, connection:
            connection.execute("INSERT OR REPLACE INTO answers VALUES (?, ?)", (key, json.dumps(phrases)))
