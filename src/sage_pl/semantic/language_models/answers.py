"""A file of slow or paid answers, by the hash of the request."""

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
    """A file of answers, each committed on arrival, so that it survives a crash and a change of other settings.

    Args:
        file: created if it is missing; several processes may use it.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        with closing(self._open()) as connection, connection:
            connection.execute("CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, phrases TEXT NOT NULL)")

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(self.file, timeout=60)

    @staticmethod
    def key(describer: Any, groups: Sequence[Sequence[str]]) -> str:
        """Hash of the describer, with all settings that change an answer, and of the full texts of one user's groups."""
        content = json.dumps([type(describer).__qualname__, identity(describer), groups])
        return hashlib.sha256(content.encode()).hexdigest()

    def read(self, keys: Sequence[str]) -> dict[str, list[str] | None]:
        """The stored answers of these keys; None for an unusable one."""
        answers = {}
        with closing(self._open()) as connection:
            for key in keys:
                if row := connection.execute("SELECT phrases FROM answers WHERE key = ?", (key,)).fetchone():
                    answers[key] = json.loads(row[0])
        return answers

    def write(self, key: str, phrases: list[str] | None) -> None:
        with closing(self._open()) as connection, connection:
            connection.execute("INSERT OR REPLACE INTO answers VALUES (?, ?)", (key, json.dumps(phrases)))
