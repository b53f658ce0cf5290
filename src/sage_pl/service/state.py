"""Events and added items in one SQLite file, which several processes read and write at once."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from sage_pl.errors import SettingError

_TABLES = """
CREATE TABLE IF NOT EXISTS events (
    place INTEGER PRIMARY KEY, user TEXT NOT NULL, item TEXT NOT NULL, time REAL NOT NULL, UNIQUE (user, time, item));
CREATE TABLE IF NOT EXISTS items (place INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, texts TEXT NOT NULL);
"""
_VERSION = 1
_PATIENCE = 5.0  # seconds for a lock of another process
_INSERT = "INSERT OR IGNORE INTO events (user, item, time) VALUES (?, ?, ?)"


class StoreError(SettingError):
    """The store cannot be read or written now: it is locked, full, read-only, damaged, removed or replaced."""


class KnownItemError(SettingError):
    """An item with this id was added before."""


class AddedItem(NamedTuple):
    """An item of the store; ``place`` grows with every addition."""

    place: int
    id: str
    texts: Mapping[str, str]


class Store:
    """Reads on one connection and writes on another, so that a reader waits for no writer (write-ahead log).

    Counting reads all events, 0.3 s per million, and so has a connection of its own.

    Args:
        file: made where it is absent; any SQLite reader opens it.

    Raises:
        SettingError: the file is no store of this version.
    """

    def __init__(self, file: str | Path) -> None:
        self.file = Path(file)
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            self._writes, self._reads, self._counts = (self._connected() for _ in range(3))
            version = self._reads.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, _VERSION):
                raise SettingError(f"{file} is of version {version}, wanted {_VERSION}; name another file with --store")
            with self._writes:
                self._writes.executescript(f"{_TABLES} PRAGMA user_version = {_VERSION};")
        except (sqlite3.Error, OSError) as error:
            raise SettingError(
                f"{file} cannot be used as the store of events ({error}); name another with --store"
            ) from error
        self._reading, self._writing, self._counting = (threading.Lock() for _ in range(3))
        self._number = self.file.stat().st_ino

    def _connected(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.file, timeout=_PATIENCE, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        return connection

    @contextmanager
    def _usable(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.IntegrityError:
            raise
        except sqlite3.Error as error:
            raise StoreError(
                f"the store of events cannot be used now ({error}); send the request again later"
            ) from error

    def check(self) -> None:
        """Whether the file is still the one that was opened: what is written to a removed one is lost at the end.

        Raises:
            StoreError: it is not.
        """
        try:
            same = self.file.stat().st_ino == self._number
        except OSError:
            same = False
        if not same:
            raise StoreError(
                f"{self.file} was removed or replaced while it was in use; put it back, or restart the server"
            )

    def history(self, user: str) -> list[str]:
        """A user's items, oldest first."""
        query = "SELECT item FROM events WHERE user = ? ORDER BY time, place"
        with self._reading, self._usable():
            return [item for (item,) in self._reads.execute(query, (user,))]

    def add_events(self, events: Iterable[tuple[str, str, float | None]]) -> int:
        """Append events; returns how many were new. An event without a time happens now.

        Raises:
            StoreError: the store cannot be written.
        """
        self.check()
        now = time.time()
        rows = [(user, item, now + place * 1e-6 if at is None else at) for place, (user, item, at) in enumerate(events)]
        with self._usable(), self._writing, self._writes:
            before = self._writes.total_changes
            self._writes.executemany(_INSERT, rows)
            return self._writes.total_changes - before

    def counts(self) -> tuple[int, int]:
        """Users with events, and events."""
        with self._counting, self._usable():
            users, events = self._counts.execute("SELECT count(DISTINCT user), count(*) FROM events").fetchone()
        return users, events

    def users(self, most: int) -> list[str]:
        """The first users by id."""
        with self._reading, self._usable():
            return [user for (user,) in self._reads.execute("SELECT DISTINCT user FROM events LIMIT ?", (most,))]

    def add_items(self, items: Sequence[tuple[str, Mapping[str, str]]]) -> None:
        """Append items by their texts, all or none.

        Raises:
            KnownItemError: one was added before.
            StoreError: the store cannot be written.
        """
        self.check()
        try:
            with self._usable(), self._writing, self._writes:
                rows = [(item, json.dumps(dict(texts))) for item, texts in items]
                self._writes.executemany("INSERT INTO items (id, texts) VALUES (?, ?)", rows)
        except sqlite3.IntegrityError as error:
            raise KnownItemError("one of the items was added before; leave it out") from error

    def items_after(self, place: int) -> list[AddedItem]:
        """The items that were added after a place."""
        query = "SELECT place, id, texts FROM items WHERE place > ? ORDER BY place"
        with self._reading, self._usable():
            rows = self._reads.execute(query, (place,)).fetchall()
        return [AddedItem(place, item, json.loads(texts)) for place, item, texts in rows]

    def close(self) -> None:
        self._counts.close()
        self._reads.close()
        self._writes.close()
