"""Files of kept lists: Arrow IPC, and the two formats of earlier versions, which are read alone."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import math
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from sage_pl.artifacts.files import whole_file
from sage_pl.errors import SettingError

Scores = npt.NDArray[np.floating]
METADATA = b"sage_pl"  # the key of the origin in the schema's metadata
_FORMAT = "sage_pl lists of recommended items, 3"
_EARLIER = {
    "sage_pl lists of recommended items, 2": True,
    "sage_pl lists of recommended items, 1": False,
}  # with a hash?
_KINDS = ("<u8", "<u8", "<i4", "<f4")  # of the columns of Lists
_COLUMNS = ("user_hash", "key", "items", "scores")
_HEADER = 1 << 20  # bytes of the origin at most
_ROWS = 1 << 16  # copied at a time


class CacheError(SettingError):
    """A file of cached lists is damaged, or has no usable list."""


class Lists(NamedTuple):
    """The lists of U users."""

    users: npt.NDArray[np.uint64]  # [U] hashes of their names, ascending
    keys: npt.NDArray[np.uint64]  # [U] Origin.key; 0 for a row without a list
    ids: npt.NDArray[np.int32]  # [U, k] best first, 0 where there are fewer
    scores: npt.NDArray[np.float32]  # [U, k]

    @classmethod
    def empty(cls, users: npt.NDArray[np.uint64], k: int, folder: Path) -> Lists:
        """Rows without lists, in files without names in ``folder``, so that memory does not grow with U."""
        shapes = ((len(users),), (len(users), k), (len(users), k))
        return cls(users, *(_scratch(shape, kind, folder) for shape, kind in zip(shapes, _KINDS[1:], strict=True)))

    @property
    def values(self) -> tuple[npt.NDArray[Any], ...]:
        """The columns beside the users."""
        return self.keys, self.ids, self.scores

    def complete(self, folder: Path) -> Lists:
        """The rows that have a list; a copy, as in :meth:`empty`, where some have none."""
        rows = np.flatnonzero(self.keys)
        if len(rows) == len(self.keys):
            return self
        part = Lists.empty(self.users[rows], self.ids.shape[1], folder)
        for start in range(0, len(rows), _ROWS):
            chosen = rows[start : start + _ROWS]
            for target, source in zip(part.values, self.values, strict=True):
                target[start : start + _ROWS] = source[chosen]
        return part

    def fill(self, old: Lists) -> None:
        """Copy the lists of the users that another set of lists has too."""
        for start in range(0, len(self.users) if len(old.users) else 0, _ROWS):
            users = self.users[start : start + _ROWS]
            at = np.minimum(np.searchsorted(old.users, users), len(old.users) - 1)
            same = old.users[at] == users
            for target, source in zip(self.values, old.values, strict=True):
                target[start : start + _ROWS][same] = source[at[same]]


def _scratch(shape: tuple[int, ...], kind: str, folder: Path) -> npt.NDArray[Any]:
    if 0 in shape:
        return np.zeros(shape, kind)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:  # the mapping keeps it; the system removes it with the process
        return np.asarray(np.memmap(file, kind, "w+", shape=shape))


def write(file: Path, origin: str, lists: Lists, items: str | None = None, names: Sequence[str] | None = None) -> None:
    """Replace ``file`` atomically by one of the rows that have a list, in one record batch.

    Args:
        file: the target.
        origin: of the lists, as JSON (:attr:`sage_pl.serving.top_k_cache.Origin.text`).
        lists: ascending by user.
        items: a hash of the items' ids.
        names: ids of the users, [U], for other readers of the file; None leaves the column out.
    """
    arrow = _arrow()
    named = None if names is None else [names[row] for row in np.flatnonzero(lists.keys).tolist()]
    lists = lists.complete(file.parent)
    users, k = lists.ids.shape
    now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    header = {"format": _FORMAT, **json.loads(origin), "users": users, "k": k, "written": now}
    header |= {} if items is None else {"items": items}
    columns = [np.ascontiguousarray(column, kind) for column, kind in zip(lists, _KINDS, strict=True)]
    text = json.dumps({**header, "sha256": _digest(header, [column.data for column in columns])}).encode()
    if len(text) > _HEADER:
        raise CacheError(f"the model's name has {len(text)} bytes, at most {_HEADER} fit; use fewer overrides")
    arrays = [_array(arrow, column) for column in columns]
    fields = list(zip(_COLUMNS, arrays, strict=True)) + (
        [] if named is None else [("user", arrow.array(named, arrow.string()))]
    )
    schema = arrow.schema([arrow.field(name, array.type, nullable=False) for name, array in fields], {METADATA: text})
    batch = arrow.record_batch([array for _, array in fields], schema=schema)
    with (
        whole_file(file) as part,
        arrow.OSFile(str(part), "wb") as stream,
        arrow.ipc.new_file(stream, schema) as writer,
    ):
        writer.write_batch(batch)


def read(file: Path) -> tuple[dict[str, Any], Lists]:
    """The origin and the mapped columns of a file, whose size and hash are compared first (0.5 s per GB).

    Raises:
        CacheError: the file is of another kind, incomplete or damaged.
    """
    with file.open("rb") as stream:
        if stream.read(6) == b"ARROW1":
            return _of_arrow(file, stream)
        stream.seek(0)
        return _of_earlier(file, stream)


def _of_arrow(file: Path, stream: BinaryIO) -> tuple[dict[str, Any], Lists]:
    arrow = _arrow()
    try:
        with arrow.memory_map(str(file)) as mapped:
            start = mapped.read_buffer().address
            content = arrow.ipc.open_file(mapped)
            header = json.loads(content.schema.metadata[METADATA])
            digest = str(header.pop("sha256"))
            if header["format"] != _FORMAT:
                raise ValueError(f"its format is {header['format']!r}, wanted {_FORMAT!r}")
            _check(header)
            batch = content.get_batch(0)
            places = [batch.column(name).buffers()[-1].address - start for name in _COLUMNS]
    except (arrow.ArrowException, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise _foreign(file, error) from error
    return header, _columns(file, stream, header, digest, places)


def _of_earlier(file: Path, stream: BinaryIO) -> tuple[dict[str, Any], Lists]:
    """A line of JSON, then the columns, each in one piece."""
    line = stream.readline(_HEADER)
    try:
        header = json.loads(line)
        if header["format"] not in _EARLIER:
            raise ValueError(f"its format is {header['format']!r}, wanted {_FORMAT!r}")
        digest = str(header.pop("sha256")) if _EARLIER[header["format"]] else None
        _check(header)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _foreign(file, error) from error
    users, k = header["users"], header["k"]
    expected = len(line) + users * (16 + 8 * k)
    if (size := file.stat().st_size) != expected:
        raise CacheError(f"{file} has {size} bytes, wanted {expected}; remove it and make it again")
    widths = [8 * users, 8 * users, 4 * k * users]
    return header, _columns(file, stream, header, digest, np.cumsum([len(line), *widths]).tolist())


def _columns(
    file: Path, stream: BinaryIO, header: Mapping[str, Any], digest: str | None, places: Sequence[int]
) -> Lists:
    """The columns at their places in the file, mapped, after the hash was compared."""
    users, k = header["users"], header["k"]
    shapes = ((users,), (users,), (users, k), (users, k))
    sizes = [math.prod(shape) * np.dtype(kind).itemsize for shape, kind in zip(shapes, _KINDS, strict=True)]
    whole = all(0 <= place <= file.stat().st_size - size for place, size in zip(places, sizes, strict=True))
    if not whole or (digest is not None and digest != _digest(header, _pieces(stream, places, sizes))):
        raise CacheError(f"{file} is damaged: its hash is another; remove it and make it again")
    data = np.asarray(np.memmap(stream, np.uint8, "r"))
    columns = (
        data[place : place + size].view(kind).reshape(shape)
        for place, size, kind, shape in zip(places, sizes, _KINDS, shapes, strict=True)
    )
    return Lists(*columns)


def _pieces(stream: BinaryIO, places: Sequence[int], sizes: Sequence[int]) -> Iterator[bytes]:
    for place, size in zip(places, sizes, strict=True):
        stream.seek(place)
        while size > 0 and (piece := stream.read(min(size, 1 << 20))):
            size -= len(piece)
            yield piece


def _array(arrow: Any, column: npt.NDArray[Any]) -> Any:
    """A column as an Arrow array over the same memory; rows of k values as lists of fixed length."""
    values = arrow.Array.from_buffers(
        arrow.from_numpy_dtype(column.dtype), column.size, [None, arrow.py_buffer(column)]
    )
    return values if column.ndim == 1 else arrow.FixedSizeListArray.from_arrays(values, column.shape[1])


def _check(header: Mapping[str, Any]) -> None:
    kinds = {"model": dict, "exclude_seen": bool, "written": str, "users": int, "k": int}
    for name, kind in kinds.items():
        if type(header[name]) is not kind or (kind is int and header[name] < 0):
            raise ValueError(f"its {name} is {header[name]!r}")
    if not isinstance(header.get("items"), str | None):
        raise ValueError(f"its items is {header['items']!r:.100}")


def _digest(header: Mapping[str, Any], columns: Iterable[bytes | memoryview]) -> str:
    """sha256 of the origin and of all columns."""
    total = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for part in columns:
        total.update(part)
    return total.hexdigest()


def _foreign(file: Path, error: Exception) -> CacheError:
    reason = " ".join(str(error).split())[:300]
    return CacheError(f"{file} is no file of recommended items ({reason}); remove or rename it")


def _arrow() -> Any:
    try:
        import pyarrow
        import pyarrow.ipc
    except ImportError as error:
        raise CacheError("kept lists need the package pyarrow; run: pip install pyarrow") from error
    return pyarrow
