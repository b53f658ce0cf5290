"""The k best items of every user, made beforehand and kept in one memory-mapped file, together with what they follow from."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sage_pl.artifacts.files import whole_file
from sage_pl.artifacts.identity import flat
from sage_pl.data.sequences import IntArray
from sage_pl.errors import MissingFileError, SettingError

Scores = npt.NDArray[np.floating]
_FORMAT = "sage_pl lists of recommended items, 1"
_KINDS = ("<u8", "<u8", "<i4", "<f4")  # of the columns of Lists
_HEADER = 1 << 20  # bytes at most


class CacheError(SettingError):
    """A file of kept lists is damaged, or not what is asked for."""


@dataclass(frozen=True)
class Origin:
    """What lists follow from, beside the histories.

    Args:
        model: plain values that name a model and all its settings that change lists.
        exclude_seen: whether what is in a history is left out.
    """

    model: Mapping[str, Any]
    exclude_seen: bool

    @cached_property
    def text(self) -> str:
        """All of it as JSON."""
        return json.dumps({"model": self.model, "exclude_seen": self.exclude_seen}, sort_keys=True)

    def differences(self, other: Origin) -> list[str]:
        """Dotted keys of the values that are not the same."""
        mine, theirs = (dict(flat(json.loads(one.text))) for one in (self, other))
        return sorted(key for key in mine.keys() | theirs.keys() if mine.get(key) != theirs.get(key))

    def key(self, name: str, items: IntArray) -> int:
        """A hash of all that a list follows from, never 0: this, the user, the items in their order."""
        told = b"%s\0%s\0%s" % (self.text.encode(), name.encode(), np.asarray(items, "<i8").tobytes())
        return _hash(told) or 1


def user_hash(name: str) -> int:
    return _hash(name.encode())


def _hash(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


class Lists(NamedTuple):
    """The kept lists of U users."""

    users: npt.NDArray[np.uint64]  # [U] hashes of their names, ascending
    keys: npt.NDArray[np.uint64]  # [U] Origin.key; 0 where nothing was made yet
    ids: npt.NDArray[np.int32]  # [U, k] best first, 0 where there are fewer
    scores: npt.NDArray[np.float32]  # [U, k]

    @classmethod
    def empty(cls, users: npt.NDArray[np.uint64], k: int) -> Lists:
        shapes = ((len(users),), (len(users), k), (len(users), k))
        return cls(users, *(np.zeros(shape, kind) for shape, kind in zip(shapes, _KINDS[1:], strict=True)))


class TopKCache:
    """A file of kept lists, memory-mapped: a line of JSON, then the columns of :class:`Lists`, one after the other.

    Opening reads the line; a lookup is a binary search among the users' hashes, and one row. The file's replacement by a
    newer one leaves an open cache as it is: open it again.

    Attributes:
        origin: what the newest lists were made with. Each row's key says whether it is one of them.
        lists: see there.
        written: when, UTC.

    Raises:
        MissingFileError: there is no such file.
        CacheError: it is not such a file, or not all of one.
    """

    def __init__(self, file: str | Path) -> None:
        self.file = Path(file)
        if not self.file.is_file():
            raise MissingFileError(f"there is no {file}; make it with scripts/recommend.py checkpoint=FILE users=all")
        with self.file.open("rb") as stream:
            line = stream.readline(_HEADER)
            try:
                told = json.loads(line)
                if told["format"] != _FORMAT:
                    raise ValueError(f"its format is {told['format']!r}, wanted {_FORMAT!r}")
                self.origin = Origin(told["model"], told["exclude_seen"])
                self.written: str = told["written"]
                users, self.k = told["users"], told["k"]
            except (ValueError, KeyError, TypeError) as error:
                raise CacheError(f"{file} is no file of recommended items ({error}); remove or rename it") from error
            wanted = len(line) + users * (16 + 8 * self.k)
            if (size := self.file.stat().st_size) != wanted:
                raise CacheError(f"{file} has {size} bytes, wanted {wanted}; remove it and make it again")
            data = np.asarray(np.memmap(stream, np.uint8, "r"))
        columns, at = [], len(line)
        for kind, width in zip(_KINDS, (8, 8, 4 * self.k, 4 * self.k), strict=True):
            columns.append(data[at : at + users * width].view(kind))
            at += users * width
        self.lists = Lists(*columns[:2], *(column.reshape(users, self.k) for column in columns[2:]))

    def __len__(self) -> int:
        return len(self.lists.users)

    def row(self, name: str) -> int | None:
        """Where a user's list is, of whatever history; None where there is none."""
        wanted, users = np.uint64(user_hash(name)), self.lists.users
        at = int(np.searchsorted(users, wanted))
        return at if at < len(users) and users[at] == wanted else None


def write(file: Path, origin: Origin, lists: Lists) -> None:
    """Put a file of the lists that were made in the place of ``file``, in one move."""
    if not (done := lists.keys != 0).all():
        lists = Lists(*(column[done] for column in lists))
    users, k = lists.ids.shape
    now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    told = {"format": _FORMAT, **json.loads(origin.text), "users": users, "k": k, "written": now}
    line = json.dumps(told).encode()
    line += b" " * (63 - len(line) % 64) + b"\n"  # columns begin at a multiple of 64 bytes
    if len(line) > _HEADER:
        raise CacheError(f"what names the model is {len(line)} bytes long, at most {_HEADER} are kept")
    with whole_file(file) as part, part.open("wb") as stream:
        stream.write(line)
        for column, kind in zip(lists, _KINDS, strict=True):
            stream.write(np.ascontiguousarray(column, kind).data)
