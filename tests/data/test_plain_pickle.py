from __future__ import annotations

import builtins
import datetime
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sage_pl.data import plain_pickle
from sage_pl.data.plain_pickle import UnsafePickleError, read_plain_pickle

ARRAYS = {
    "float64": np.arange(6.0).reshape(2, 3),
    "float32": np.linspace(0, 1, 5, dtype=np.float32),
    "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "view": np.arange(20)[::3],
    "big endian": np.arange(4, dtype=">i4"),
    "bool": np.array([True, False]),
    "complex": np.array([1 + 2j]),
    "text": np.array(["ab", "c"]),
    "bytes": np.array([b"ab", b"c"]),
    "empty": np.zeros((0, 7)),
    "scalar array": np.array(3.5),
}


def write(tmp_path: Path, value: Any, protocol: int) -> Path:
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
def test_arrays_come_back_the_same(tmp_path: Path, array: np.ndarray, protocol: int) -> None:
    got = read_plain_pickle(write(tmp_path, array, protocol))
    assert got.dtype == array.dtype
    assert got.shape == array.shape
    assert np.array_equal(got, array)
    assert got.flags.writeable


@pytest.mark.parametrize("protocol", range(4))
def test_pickles_of_numpy_1_are_read(tmp_path: Path, protocol: int) -> None:
    path = write(tmp_path, [ARRAYS["float64"], np.float32(1.5)], protocol)
    written = path.read_bytes()
    assert b"numpy._core.multiarray" in written
    path.write_bytes(written.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    array, number = read_plain_pickle(path)
    assert np.array_equal(array, ARRAYS["float64"])
    assert number == np.float32(1.5)


def test_containers_and_numbers(tmp_path: Path) -> None:
    value = {"a": [1, 2.5, None, True, "x", b"y"], ("t", 1): (np.int64(3), {"z": []}), 5: 10**30}
    got = read_plain_pickle(write(tmp_path, value, 4))
    assert got == value
    assert type(got["t", 1][0]) is np.int64


class Call:
    """Pickles as a call."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


@pytest.mark.parametrize(
    ("value", "refused"),
    [
        (Call(os.system, "touch hostile"), "system"),
        (Call(builtins.eval, "open('hostile', 'w')"), r"builtin(s|__)\.eval"),
        ([1, {"deep": Call(builtins.exec, "open('hostile', 'w')")}], r"builtin(s|__)\.exec"),
        (Call(getattr, "x", "upper"), r"builtin(s|__)\.getattr"),
        (Call(np.load, "hostile"), "load"),
        (np.array([1, "a", None], dtype=object), "type 'O8'"),
        (np.zeros(2, dtype=[("a", "i4")]), "type 'V4'"),
        (np.array(["2020-01-01"], dtype="M8[D]"), "M8"),
        (datetime.date(2020, 1, 1), r"datetime\.date"),
        ({1, 2}, "set"),
        (np.random.default_rng, "numpy.random"),
        (np.ndarray, "value of type partial"),
    ],
    ids=[
        "os.system", "eval", "nested exec", "getattr", "numpy function", "object array", "record array", "date array",
        "other class", "set", "function", "allowed name as value",
    ],
)  # fmt: skip
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_anything_else_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: Any, refused: str, protocol: int
) -> None:
    path = write(tmp_path, value, protocol)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnsafePickleError, match=refused):
        read_plain_pickle(path)
    assert not (tmp_path / "hostile").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a pickle",
        pickle.dumps(ARRAYS["float64"])[:40],
        b"\x80\x04]\x94h\x00a.",
        b"cnumpy\ndtype\n(S'i4'\ntR(I1\ntb.",
    ],
    ids=["empty", "text", "cut", "list in itself", "short state"],
)
def test_damaged_pickles_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.pkl"
    path.write_bytes(content)
    with pytest.raises(UnsafePickleError, match=r"x\.pkl"):
        read_plain_pickle(path)


def test_a_pickle_cannot_change_the_reader(tmp_path: Path) -> None:
    path = tmp_path / "x.pkl"
    attributes = pickle.dumps((None, {"array": 1, "__doc__": "changed"}), protocol=2)[2:-1]
    path.write_bytes(b"\x80\x02cnumpy.core.multiarray\nscalar\n" + attributes + b"b.")
    with pytest.raises(UnsafePickleError):
        read_plain_pickle(path)
    scalar = plain_pickle.NAMES["numpy.core.multiarray", "scalar"]
    assert not hasattr(scalar, "array")
    assert scalar.__doc__ != "changed"


def test_array_with_too_little_data_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, np.arange(3), 2)
    content = path.read_bytes()
    assert content.count(b"K\x03\x85") == 1  # the shape (3,)
    path.write_bytes(content.replace(b"K\x03\x85", b"K\x09\x85"))
    with pytest.raises(UnsafePickleError, match="reshape"):
        read_plain_pickle(path)


def test_absent_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_plain_pickle(tmp_path / "none.pkl")


def shared(levels: int, start: bytes = b"]") -> bytes:
    """``x = [x0, x0, ...]`` again and again: ten references to the level below."""
    text = b"\x80\x04" + start + b"\x94"
    for level in range(levels):
        text += b"]\x94(" + b"h" + bytes([level]) + (b"h" + bytes([level])) * 9 + b"e"
    return text + b"."


BOMBS = {
    "shared lists": shared(9),
    "shared texts": shared(6, b"\x8c\xff" + b"a" * 255),
    "shared arrays": b"\x80\x04(" + pickle.dumps(np.zeros(10_000), 4)[2:-1] + b"\x94" + b"h\x40" * 5_000 + b"l.",
    "a list of itself": b"\x80\x04]\x94h\x00a.",
    "deep lists": b"\x80\x04" + b"]" * 200_000 + b"a" * 199_999 + b".",
    "deep tuples": b"\x80\x04)" + b"\x85" * 300_000 + b".",
    "deep key": b"\x80\x04})" + b"\x85" * 300_000 + b"K\x01s.",
    "deep keys": b"\x80\x04}()" + b"\x85" * 300_000 + b"K\x01u.",
    "deep key of a dict": b"\x80\x04()" + b"\x85" * 300_000 + b"K\x01d.",
    "deep member of a set": b"\x80\x04\x8f()" + b"\x85" * 300_000 + b"\x90.",
    "frozen set": b"\x80\x04()" + b"\x85" * 300_000 + b"\x91.",
    "long as text": b"L" + b"9" * 2**20 + b"L\n.",
    "length of an int": b"\x80\x04\x8b\xff\xff\xff\x7f1.",
    "length of a text": b"\x80\x04\x8d" + (2**62).to_bytes(8, "little") + b"a.",
    "length of bytes": b"\x80\x04\x8e" + (2**40).to_bytes(8, "little") + b"a.",
    "length of a bytearray": b"\x80\x05\x96" + (2**40).to_bytes(8, "little") + b"a.",
    "length of a frame": b"\x80\x04\x95" + (2**40).to_bytes(8, "little") + b"a.",
    "extension": b"\x80\x02\x82\x01.",
    "persistent": b"Pname\n.",
    "buffer": b"\x80\x05\x97.",
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_a_bomb_is_refused_soon_and_in_little_memory(tmp_path: Path, bomb: bytes) -> None:
    path = tmp_path / "bomb.pkl"
    path.write_bytes(bomb)
    code = f"""
import resource
from sage_pl.data.plain_pickle import UnsafePickleError, read_plain_pickle
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    read_plain_pickle({str(path)!r})
except UnsafePickleError as error:
    print(str(error)[:300])
assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search("refused|no readable pickle", done.stdout), done.stdout


def test_a_long_number_is_read_once(tmp_path: Path) -> None:
    value = [1 << (8 * 2**20)]
    assert read_plain_pickle(write(tmp_path, value, 4)) == value


def test_parts_that_stand_in_several_places_are_read(tmp_path: Path) -> None:
    row, array = [1.5] * 10, np.arange(3)
    got = read_plain_pickle(write(tmp_path, {"rows": [row] * 50, "arrays": (array, array)}, 4))
    assert got["rows"] == [row] * 50
    assert np.array_equal(got["arrays"][1], array)


@pytest.mark.parametrize("pickled", [b"\x80\x04]r\xff\xff\xff\x7f.", b"]p" + b"9" * 4000 + b"\n."])
def test_an_index_of_the_memo_takes_no_room(tmp_path: Path, pickled: bytes) -> None:
    path = tmp_path / "memo.pkl"
    path.write_bytes(pickled)
    assert read_plain_pickle(path) == []
