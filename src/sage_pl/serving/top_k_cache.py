"""The k best items of every user in one memory-mapped file, with the origin of each list."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sage_pl.artifacts.identity import flat, value_at
from sage_pl.errors import MissingFileError
from sage_pl.serving import list_files
from sage_pl.serving.list_files import CacheError, Lists, Scores

__all__ = ["CacheError", "Lists", "Origin", "Scores", "TopKCache", "user_hash", "write"]

if TYPE_CHECKING:
    from sage_pl.data.sequences import IntArray


@dataclass(frozen=True)
class Origin:
    """The values that determine a list beside the history.

    Args:
        model: plain values: the model's name and all settings that change lists.
        exclude_seen: whether items of the history are masked.
        items: a hash of the items' ids in the order of their numbers (:func:`sage_pl.data.mapped.digest`), which determines
            what a number in a list means and is no part of its key; None where it is unknown.
    """

    model: Mapping[str, Any]
    exclude_seen: bool
    items: str | None = None

    @cached_property
    def text(self) -> str:
        """The origin as JSON."""
        return json.dumps({"model": self.model, "exclude_seen": self.exclude_seen}, sort_keys=True)

    def differences(self, other: Origin) -> list[str]:
        """Dotted keys of the values that differ."""
        mine, theirs = (dict(flat(json.loads(one.text))) for one in (self, other))
        return sorted(key for key in mine.keys() | theirs.keys() if mine.get(key) != theirs.get(key))

    def numbers_as(self, other: Origin) -> bool:
        """Whether numbers of items mean the same in both; without a hash, equal artifacts tell it."""
        if self.items is not None and other.items is not None:
            return self.items == other.items
        mine, theirs = (
            (value_at(one.model, "artifacts.sequences"), value_at(one.model, "new_items")) for one in (self, other)
        )
        return mine[0] is not None and mine == theirs

    def key(self, name: str, items: IntArray) -> int:
        """A nonzero hash of origin, user and ordered items, which determine a list."""
        data = b"%s\0%s\0%s" % (self.text.encode(), name.encode(), np.asarray(items, "<i8").tobytes())
        return _hash(data) or 1


def user_hash(name: str) -> int:
    return _hash(name.encode())


def _hash(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


class TopKCache:
    """A memory-mapped Arrow IPC file of lists (:mod:`sage_pl.serving.list_files`), which polars and DuckDB read too.

    Opening compares size and hash (0.5 s per GB), and maps the file; a lookup is a binary search among the users' hashes, and
    one row. An open cache keeps the old content when the file is replaced. Files of earlier versions are read too.

    Attributes:
        origin: of the newest lists; a row is one of them if its key matches.
        lists: the columns, read-only.
        written: time of the write, ISO 8601, UTC.

    Raises:
        MissingFileError: there is no such file.
        CacheError: the file is of another kind, incomplete, or damaged.
    """

    def __init__(self, file: str | Path) -> None:
        self.file = Path(file)
        if not self.file.is_file():
            raise MissingFileError(f"there is no {file}; make it with scripts/recommend.py checkpoint=FILE users=all")
        header, self.lists = list_files.read(self.file)
        self.origin = Origin(header["model"], header["exclude_seen"], header.get("items"))
        self.written: str = header["written"]
        self.k: int = header["k"]

    def __len__(self) -> int:
        return len(self.lists.users)

    def check_items(self, origin: Origin) -> None:
        """The numbers in the lists mean the items that they mean under another origin.

        Raises:
            CacheError: they mean others, or it is unknown.
        """
        if not self.origin.numbers_as(origin):
            raise CacheError(
                f"{self.file} was made with other items or other numbers of them, so its lists would name wrong items; make it "
                "again with scripts/recommend.py checkpoint=FILE users=all, or leave out live=false"
            )

    def row(self, name: str) -> int | None:
        """Row of a user's list, fresh or not; None without one."""
        user, users = np.uint64(user_hash(name)), self.lists.users
        at = int(np.searchsorted(users, user))
        return at if at < len(users) and users[at] == user else None


def write(file: Path, origin: Origin, lists: Lists, names: Sequence[str] | None = None) -> None:
    """Replace ``file`` atomically by one of the rows that have a list; see :func:`sage_pl.serving.list_files.write`."""
    list_files.write(file, origin.text, lists, origin.items, names)
