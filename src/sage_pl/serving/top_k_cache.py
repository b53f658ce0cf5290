"""The k best items of every user in one memory-mapped file, with the origin of each list."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sage_pl.artifacts.files import whole_file
from sage_pl.artifacts.identity import flat, value_at
from sage_pl.errors import MissingFileError, SettingError

if TYPE_CHECKING:
    from sage_pl.data.sequences import IntArray

Scores = npt.NDArray[np.floating]
_FORMAT, _FIRST_FORMAT = "sage_pl lists of recommended items, 2", "sage_pl lists of recommended items, 1"
_KINDS = ("<u8", "<u8", "<i4", "<f4")  # of the columns of Lists
_HEADER = 1 << 20  # bytes at most


class CacheError(SettingError):
    """A file of cached lists is damaged, or has no usable list."""


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


class Lists(NamedTuple):
    """The lists of U users."""

    users: npt.NDArray[np.uint64]  # [U] hashes of their names, ascending
    keys: npt.NDArray[np.uint64]  # [U] Origin.key; 0 for a row without a list
    ids: npt.NDArray[np.int32]  # [U, k] best first, 0 where there are fewer
    scores: npt.NDArray[np.float32]  # [U, k]

    @classmethod
    def empty(cls, users: npt.NDArray[np.uint64], k: int) -> Lists:
        shapes = ((len(users),), (len(users), k), (len(users), k))
        return cls(users, *(np.zeros(shape, kind) for shape, kind in zip(shapes, _KINDS[1:], strict=True)))


class TopKCache:
    """A memory-mapped file of lists: a line of JSON, then the columns of :class:`Lists` in order.

    Opening compares size and hash (0.5 s per GB), and maps the file; a lookup is a binary search among the users' hashes, and
    one row. An open cache keeps the old content when the file is replaced. Files of the first format hold no hash.

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
        with self.file.open("rb") as stream:
            line = stream.readline(_HEADER)
            try:
                header, digest = _header(line)
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise CacheError(f"{file} is no file of recommended items ({error}); remove or rename it") from error
            self.origin = Origin(header["model"], header["exclude_seen"], header.get("items"))
            self.written: str = header["written"]
            users, self.k = header["users"], header["k"]
            expected = len(line) + users * (16 + 8 * self.k)
            if (size := self.file.stat().st_size) != expected:
                raise CacheError(f"{file} has {size} bytes, wanted {expected}; remove it and make it again")
            if digest is not None and digest != _digest(header, iter(lambda: stream.read(1 << 20), b"")):
                raise CacheError(f"{file} is damaged: its hash is another; remove it and make it again")
            data = np.asarray(np.memmap(stream, np.uint8, "r"))
        columns, at = [], len(line)
        for kind, width in zip(_KINDS, (8, 8, 4 * self.k, 4 * self.k), strict=True):
            columns.append(data[at : at + users * width].view(kind))
            at += users * width
        self.lists = Lists(*columns[:2], *(column.reshape(users, self.k) for column in columns[2:]))

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


def write(file: Path, origin: Origin, lists: Lists) -> None:
    """Replace ``file`` atomically by one of the rows that have a list."""
    if not (complete := lists.keys != 0).all():
        lists = Lists(*(column[complete] for column in lists))
    users, k = lists.ids.shape
    now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    numbers = {} if origin.items is None else {"items": origin.items}
    header = {"format": _FORMAT, **json.loads(origin.text), **numbers, "users": users, "k": k, "written": now}
    columns = [np.ascontiguousarray(column, kind).data for column, kind in zip(lists, _KINDS, strict=True)]
    line = json.dumps({**header, "sha256": _digest(header, columns)}).encode()
    line += b" " * (63 - len(line) % 64) + b"\n"  # columns begin at a multiple of 64 bytes
    if len(line) > _HEADER:
        raise CacheError(f"the model's name has {len(line)} bytes, at most {_HEADER} fit; use fewer overrides")
    with whole_file(file) as part, part.open("wb") as stream:
        stream.write(line)
        for column in columns:
            stream.write(column)


def _header(line: bytes) -> tuple[dict[str, Any], str | None]:
    """The first line's values, and the hash of the file where its format has one.

    Raises:
        ValueError, KeyError, TypeError: it is no such line.
    """
    header: dict[str, Any] = json.loads(line)
    digest = None
    if header["format"] == _FORMAT:
        digest = str(header.pop("sha256"))
    elif header["format"] != _FIRST_FORMAT:
        raise ValueError(f"its format is {header['format']!r}, wanted {_FORMAT!r}")
    kinds = {"model": dict, "exclude_seen": bool, "written": str, "users": int, "k": int}
    for name, kind in kinds.items():
        if type(header[name]) is not kind or (kind is int and header[name] < 0):
            raise ValueError(f"its {name} is {header[name]!r}")
    if not isinstance(header.get("items"), str | None):
        raise ValueError(f"its items is {header['items']!r:.100}")
    return header, digest


def _digest(header: Mapping[str, Any], columns: Iterable[bytes | memoryview]) -> str:
    """sha256 of the first line's values and of all columns."""
    total = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for part in columns:
        total.update(part)
    return total.hexdigest()
