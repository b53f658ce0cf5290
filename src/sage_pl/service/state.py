"""Events and added items in one SQLite file, which several processes read and write at once."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from sage_pl.errors import SettingError

_TABLES = """
CREATE TABLE IF NOT EXISTS events (
    place INTEGER PRIMARY KEY, user TEXT NOT NULL, item TEXT NOT NULL, time REAL NOT NULL, UNIQUE (user, time, item));
CREATE TABLE IF NOT EXISTS items (place INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, texts TEXT NOT NULL);
"""
_VERSION = 1
_INSERT = "INSERT OR IGNORE INTO events (user, item, time) VALUES (?, ?, ?)"


class KnownItemError(SettingError):
    """An item with this id was added before."""


class AddedItem(NamedTuple):
    """An item of the store; ``place`` grows with every addition."""

    place: int
    id: str
    texts: Mapping[str, str]


class Store:
    """Reads on one connection and writes on another, so that a reader waits for no writer (write-ahead log).

    Args:
        file: made where it is absent; any SQLite reader opens it.

    Raises:
        SettingError: the file is no store of this version.
    """

    def __init__(self, file: str | Path) -> None:
        self.file = Path(file)
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            self._writes, self._reads = (self._connected() for _ in range(2))
            version = self._reads.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, _VERSION):
                raise SettingError(f"{file} is of version {version}, wanted {_VERSION}; name another file with --store")
            with self._writes:
                self._writes.executescript(f"{_TABLES} PRAGMA user_version = {_VERSION};")
        except (sqlite3.Error, OSError) as error:
            raise SettingError(
                f"{file} cannot be used as the store of events ({error}); name another with --store"
            ) from error
        self._reading, self._writing = threading.Lock(), threading.Lock()

    def _connected(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.file, timeout=30, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        return connection

    def history(self, user: str) -> list[str]:
        """A user's items, oldest first."""
        query = "SELECT item FROM events WHERE user = ? ORDER BY time, place"
        with self._reading:
            return [item for (item,) in self._reads.execute(query, (user,))]

    def add_events(self, events: Iterable[tuple[str, str, float | None]]) -> int:
        """Append events; returns how many were new. An event without a time happens now."""
        now = time.time()
        rows = [(user, item, now + place * 1e-6 if at is None else at) for place, (user, item, at) in enumerate(events)]
        with self._writing, self._writes:
            before = self._writes.total_changes
            self._writes.executemany(_INSERT, rows)
            return self._writes.total_changes - before

    def counts(self) -> tuple[int, int]:
        """Users with events, and events."""
        with self._reading:
            users, events = self._reads.execute("SELECT count(DISTINCT user), count(*) FROM events").fetchone()
        return users, events

    def users(self, most: int) -> list[str]:
        """The first users by id."""
        with self._reading:
            return [user for (user,) in self._reads.execute("SELECT DISTINCT user FROM events LIMIT ?", (most,))]

    def add_items(self, items: Sequence[tuple[str, Mapping[str, str]]]) -> None:
        """Append items by their texts, all or none.

        Raises:
            KnownItemError: one was added before.
        """
        try:
            with self._writing, self._writes:
                rows = [(item, json.dumps(dict(texts))) for item, texts in items]
                self._writes.executemany("INSERT INTO items (id, texts) VALUES (?, ?)", rows)
        except sqlite3.IntegrityError as error:
            raise KnownItemError("one of the items was added before; leave it out") from error

    def items_after(self, place: int) -> list[AddedItem]:
        """The items that were added after a place."""
        query = "SELECT place, id, texts FROM items WHERE place > ? ORDER BY place"
        with self._reading:
            rows = self._reads.execute(query, (place,)).fetchall()
        return [AddedItem(place, item, json.loads(texts)) for place, item, texts in rows]

    def close(self) -> None:
        self._reads.close()
        self._writes.close()
