"""A reader of pickles of numbers, texts, containers and NumPy arrays that imports and calls nothing they name.

A pickle is a program that may call any function it can import. This reader maps the few names in NumPy's own pickles to
inert records, then checks them and converts them to arrays; it refuses every other name before an import.

The reader is the pure Python one, whose memo is a dict: the one in C makes room for every number below the largest index, so
that five bytes cost gigabytes. What is shared is copied as often as it stands somewhere, up to a multiple of the
file's size.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from sage_pl.data.sources.raw import DataError

PLAIN = (type(None), bool, int, float, complex, str, bytes, bytearray)
_SPREAD = 16  # times the size of the file: parts of its values, where some are shared
KINDS = "biufcSU"  # booleans, numbers and texts of fixed size; no objects, records or dates


class UnsafePickleError(DataError):
    """A pickle that needs more than plain data, or is damaged."""


class _Dtype:
    """``numpy.dtype(name)`` with the byte order of its state."""

    def __init__(self, name: Any, *_: Any) -> None:
        self.dtype = np.dtype(name) if isinstance(name, str) else None
        if self.dtype is None or self.dtype.kind not in KINDS:
            raise UnsafePickleError(f"an array of type {str(name)[:50]!r}; only numbers and fixed-size texts are read")

    def __setstate__(self, state: Any) -> None:
        _, order, subarray, names, fields, *_ = state
        if (subarray, names, fields) != (None, None, None) or order not in "<>|=":
            raise UnsafePickleError("an array of records; only numbers and fixed-size texts are read")
        if self.dtype is not None:
            self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """The parts of an array in a pickle of ``numpy.ndarray``."""

    def __init__(self, *_: Any) -> None:
        self.parts: tuple[Any, Any, Any, Any] | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        self.parts = (data, dtype, shape, "F" if fortran else "C")

    def value(self) -> np.ndarray:
        if self.parts is None:
            raise UnsafePickleError("an array without content")
        data, dtype, shape, order = self.parts
        if not (isinstance(data, bytes | bytearray) and isinstance(dtype, _Dtype)):
            raise UnsafePickleError(f"an array made of {type(data).__name__}, not of plain bytes")
        return np.frombuffer(data, dtype=dtype.dtype).reshape(shape, order=order).copy(order=order)


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any, *_: Any) -> _Array:
    array = _Array()
    array.parts = (data, dtype, shape, order)
    return array


class _Scalar:
    """A NumPy number."""

    def __init__(self, dtype: Any, data: Any) -> None:
        self.array = _from_buffer(data, dtype, (), "C")


def _latin1(text: Any, encoding: Any) -> bytes:
    """Bytes in protocols 0 to 2."""
    if encoding != "latin1":
        raise UnsafePickleError(f"_codecs.encode to {encoding!r}")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """``b""`` in protocols 0 to 2."""
    return b""


NAMES: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _latin1,
    ("__builtin__", "bytes"): _no_bytes,
}
for _core in ("numpy.core", "numpy._core"):  # numpy 1 and numpy 2
    NAMES[_core + ".multiarray", "_reconstruct"] = _Array
    NAMES[_core + ".multiarray", "scalar"] = _Scalar
    NAMES[_core + ".numeric", "_frombuffer"] = _from_buffer


_PythonUnpickler: Any = pickle._Unpickler


class _Reader(_PythonUnpickler):
    dispatch: ClassVar[dict[int, Any]] = dict(_PythonUnpickler.dispatch)

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in NAMES:
            raise UnsafePickleError(f"the name {module}.{name}")
        return partial(NAMES[module, name])  # a copy, since a pickle can set attributes of the result

    def _refuse(self) -> None:
        raise UnsafePickleError("a set, or an object of a class")

    def _set_item(self) -> None:
        _check_keys(self.stack[-2:-1])
        self.load_setitem()

    def _set_items(self) -> None:
        _check_keys(self.stack[::2])  # since the mark
        self.load_setitems()

    def _dict(self) -> None:
        _check_keys(self.stack[::2])
        self.load_dict()

    dispatch |= {pickle.SETITEM[0]: _set_item, pickle.SETITEMS[0]: _set_items, pickle.DICT[0]: _dict}
    dispatch |= dict.fromkeys((code[0] for code in (pickle.ADDITEMS, pickle.FROZENSET, pickle.INST)), _refuse)


def _check_keys(keys: list[Any]) -> None:
    """Raise UnsafePickleError for a key that is neither plain nor a tuple of plain values: hashing nested ones may not end."""
    for key in keys:
        if not all(type(part) in PLAIN for part in (key if type(key) is tuple else [key])):
            raise UnsafePickleError(f"a key of type {type(key).__name__}")


class _Plain:
    """Converts records to arrays and refuses anything but plain data.

    Args:
        most: parts and characters of the result; a shared part counts wherever it stands.
    """

    def __init__(self, most: int) -> None:
        self.left = most
        self.arrays: dict[int, np.ndarray] = {}  # by the id of their record, which lives as long as the pickle's values

    def of(self, value: Any) -> Any:
        """The value with arrays for records; raises UnsafePickleError."""
        self.left -= 1 + (len(value) if isinstance(value, str | bytes | bytearray) else 0)
        if self.left < 0:
            raise UnsafePickleError("values that are many times larger than the file")
        kind = type(value)
        if kind in PLAIN:
            return value
        if kind in (list, tuple):
            return kind(self.of(part) for part in value)
        if kind is dict:
            return {self.of(key): self.of(part) for key, part in value.items()}
        if kind is _Array:
            if id(value) not in self.arrays:
                self.arrays[id(value)] = value.value()
            self.left -= self.arrays[id(value)].nbytes
            return self.arrays[id(value)]
        if kind is _Scalar:
            return value.array.value()[()]
        raise UnsafePickleError(f"a value of type {kind.__name__}")


def read_plain_pickle(path: str | Path) -> Any:
    """The content of a pickle of NumPy arrays, numbers, texts, lists, tuples and dicts, written by numpy 1 or 2.

    Args:
        path: the file, such as the reference's ``itm_emb_np.pkl``.

    Raises:
        MissingFileError: there is no such file.
        UnsafePickleError: the pickle is damaged, or names or contains anything else, such as object arrays.
    """
    path = Path(path)
    with path.open("rb") as stream:
        try:
            value = _Reader(stream).load()
            return _Plain(_SPREAD * path.stat().st_size + 2**20).of(value)
        except UnsafePickleError as error:
            raise UnsafePickleError(
                f"{path}: refused {error}; wanted NumPy arrays of numbers, texts, lists, tuples and dicts. "
                "Write the file again from a trusted source: pickle.dump(numpy.asarray(values), file)"
            ) from None
        except (
            pickle.UnpicklingError,
            ArithmeticError,
            AttributeError,
            EOFError,
            LookupError,
            MemoryError,
            RecursionError,
            TypeError,
            ValueError,
        ) as error:
            reason = str(error)[:200] or type(error).__name__
            raise UnsafePickleError(f"{path} is no readable pickle of plain data ({reason}); fetch it again") from error
