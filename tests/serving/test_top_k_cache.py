"""The file of kept lists: what it says of itself, what is refused, and how little of it is read."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.ipc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage_pl.serving import Origin, TopKCache, refresh
from sage_pl.serving.top_k_cache import CacheError, Lists, user_hash, write
from tests.serving.summing import ORIGIN, SumModel, made

HASHES = np.sort(np.array([user_hash(name) for name in ("anna", "ben", "cleo")], np.uint64))
LISTS = Lists(HASHES, np.array([5, 0, 2**64 - 1], np.uint64), np.arange(6).reshape(3, 2), -np.arange(6.0).reshape(3, 2))


def test_a_file_says_what_it_holds(tmp_path: Path) -> None:
    """The row that was not made yet is left out; types are the file's."""
    write(tmp_path / "new" / "x", ORIGIN, LISTS)
    cache = TopKCache(tmp_path / "new" / "x")
    assert (cache.origin, cache.k, len(cache)) == (ORIGIN, 2, 2)
    assert cache.written.endswith("+00:00")
    for column, kind, wanted in zip(cache.lists, ("u8", "u8", "i4", "f4"), LISTS, strict=True):
        assert (column.dtype, column.tolist()) == (np.dtype(kind), wanted[[0, 2]].tolist())
        assert not column.flags.writeable
    rows = [cache.row(name) for name in ("anna", "ben", "cleo", "nobody")]
    assert sorted(rows, key=lambda row: -1 if row is None else row)[2:] == [0, 1]
    assert rows.count(None) == 2
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["x"]


def test_lists_that_are_being_made_are_in_files_without_names(tmp_path: Path) -> None:
    lists = Lists.empty(np.arange(1, 70_001, dtype=np.uint64), 3, tmp_path)
    assert all(isinstance(column.base, np.memmap) for column in lists.values)
    assert not list(tmp_path.iterdir())
    lists.keys[::2] = 1
    lists.ids[:] = np.arange(70_000, dtype=np.int32)[:, None]
    complete = lists.complete(tmp_path)
    np.testing.assert_array_equal(complete.users, lists.users[::2])
    np.testing.assert_array_equal(complete.ids, lists.ids[::2])
    again = Lists.empty(lists.users, 3, tmp_path)
    again.fill(complete)
    np.testing.assert_array_equal(again.keys, lists.keys)


def test_other_readers_open_it(tmp_path: Path) -> None:
    write(tmp_path / "x", ORIGIN, LISTS, ["anna", "ben", "cleo"])
    frame = pl.read_ipc(tmp_path / "x")
    assert frame.columns == ["user_hash", "key", "items", "scores", "user"]
    assert frame["user"].to_list() == ["anna", "cleo"], "the row that was not made yet is left out"
    assert frame["items"].to_list() == [[0, 1], [4, 5]]
    lists = pyarrow.ipc.open_file(str(tmp_path / "x")).read_all()
    assert json.loads(lists.schema.metadata[b"sage_pl"])["model"]["artifacts"]["tokens"] == "t"
    duckdb = pytest.importorskip("duckdb", reason="the package duckdb is not installed")
    assert duckdb.sql('SELECT "user", items[1] FROM lists ORDER BY "user"').fetchall() == [("anna", 0), ("cleo", 4)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: b"", "no file of recommended items"),
        (lambda content: b"not an array", "no file of recommended items"),
        (lambda content: b"{}\n", "'format'"),
        (lambda content: content.replace(b"items, 3", b"items, 9"), "items, 9"),
        (lambda content: content[:-1], "no file of recommended items"),
        (lambda content: content + b"\0", "no file of recommended items"),
        (lambda content: earlier(content, 2).replace(b"items, 2", b"items, 9"), "items, 9"),
        (lambda content: earlier(content, 2)[:-1], "wanted"),
        (lambda content: earlier(content, 2) + b"\0", "wanted"),
    ],
)
def test_another_file_is_refused(change: object, message: str, tmp_path: Path) -> None:
    file = tmp_path / "x"
    write(file, ORIGIN, LISTS)
    file.write_bytes(change(file.read_bytes()))  # type: ignore[operator]
    with pytest.raises(CacheError, match=f"{message}.*remove"):
        TopKCache(file)


@pytest.mark.parametrize("place", ["header", "users", "ids"])
def test_a_flipped_bit_is_noticed(place: str, tmp_path: Path) -> None:
    file = tmp_path / "x"
    write(file, ORIGIN, LISTS)
    content = bytearray(file.read_bytes())
    columns = {"users": HASHES[[0, 2]], "ids": np.array([[0, 1], [4, 5]], "<i4")}
    at = content.rindex(b'"exclude_seen": ') - 3 if place == "header" else content.index(columns[place].tobytes()) + 5
    content[at] ^= 1
    file.write_bytes(content)
    with pytest.raises(CacheError, match="remove"):
        TopKCache(file)


@pytest.mark.parametrize("version", [1, 2])
def test_files_of_earlier_formats_are_read_and_written_anew(version: int, tmp_path: Path) -> None:
    write(tmp_path / "x", ORIGIN, LISTS)
    (tmp_path / "y").write_bytes(earlier((tmp_path / "x").read_bytes(), version))
    new, old = TopKCache(tmp_path / "x"), TopKCache(tmp_path / "y")
    assert (old.origin, old.k) == (new.origin, new.k)
    for column, expected in zip(old.lists, new.lists, strict=True):
        np.testing.assert_array_equal(column, expected)
    refresh(tmp_path / "y", made({"anna": [3]}), ORIGIN, SumModel(), 2)
    assert (tmp_path / "y").read_bytes().startswith(b"ARROW1")


def earlier(content: bytes, version: int) -> bytes:
    """The same lists as earlier versions wrote them: a line of JSON, then the columns."""
    table = pyarrow.ipc.open_file(content).read_all()
    header = json.loads(table.schema.metadata[b"sage_pl"])
    header["format"] = header["format"].replace("3", str(version))
    kinds = {"user_hash": "<u8", "key": "<u8", "items": "<i4", "scores": "<f4"}
    columns = [np.array(table[name].to_pylist(), kind).tobytes() for name, kind in kinds.items()]
    del header["sha256"]
    if version == 2:
        digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode() + b"".join(columns)).hexdigest()
        header["sha256"] = digest
    line = json.dumps(header).encode()
    return line + b" " * (63 - len(line) % 64) + b"\n" + b"".join(columns)


def test_no_file() -> None:
    with pytest.raises(FileNotFoundError, match="users=all"):
        TopKCache("nowhere")


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="memory is read from /proc")
def test_opening_maps_the_file_without_bringing_it_into_memory(tmp_path: Path) -> None:
    def mapped() -> int:
        """KiB of files in this process's memory."""
        return next(int(s.split()[1]) for s in Path("/proc/self/status").read_text().splitlines() if "RssFile" in s)

    users = np.arange(1, 40_001, dtype=np.uint64)
    write(tmp_path / "x", ORIGIN, Lists(users, users, *(np.ones((len(users), 100), kind) for kind in ("i4", "f4"))))
    before = mapped()
    cache = TopKCache(tmp_path / "x")
    cache.row("anna")
    assert (tmp_path / "x").stat().st_size > 32e6
    assert mapped() - before < 2_000


def test_lists_of_other_item_codes_have_other_keys() -> None:
    artifacts = {**ORIGIN.model["artifacts"], "tokens": "others"}
    other = dataclasses.replace(ORIGIN, model={**ORIGIN.model, "artifacts": artifacts})
    assert ORIGIN.differences(other) == ["model.artifacts.tokens"]
    assert ORIGIN.key("anna", np.array([1])) != other.key("anna", np.array([1]))


def test_what_else_lists_follow_from() -> None:
    more = Origin({**ORIGIN.model, "overrides": {"decoder": {"beams": 9}}}, exclude_seen=False)
    assert ORIGIN.differences(more) == more.differences(ORIGIN) == ["exclude_seen", "model.overrides.decoder.beams"]
    assert ORIGIN.differences(Origin(dict(reversed(ORIGIN.model.items())), exclude_seen=True)) == []
    assert ORIGIN.key("u", np.array([1])) != dataclasses.replace(ORIGIN, exclude_seen=False).key("u", np.array([1]))


@given(st.lists(st.integers(1, 3), max_size=4), st.lists(st.integers(1, 3), max_size=4))
def test_a_key_tells_histories_apart(first: list[int], second: list[int]) -> None:
    one, two = (ORIGIN.key("u", np.array(items, np.int32)) for items in (first, second))
    assert (one == two) == (first == second)
    assert one == ORIGIN.key("u", np.array(first, np.int64))
    assert one not in (0, ORIGIN.key("v", np.array(first)))


def test_lists_are_read_with_the_numbers_that_they_were_made_with(tmp_path: Path) -> None:
    """A hash of the ids decides; for a file of an earlier version, which has none, the artifact does."""
    ours, others = dataclasses.replace(ORIGIN, items="a"), dataclasses.replace(ORIGIN, items="b")
    write(tmp_path / "x", ours, LISTS)
    write(tmp_path / "old", ORIGIN, LISTS)
    cache, old = TopKCache(tmp_path / "x"), TopKCache(tmp_path / "old")
    assert (cache.origin.items, old.origin.items) == ("a", None)
    assert cache.origin.key("anna", HASHES) == old.origin.key("anna", HASHES)
    cache.check_items(ours)
    old.check_items(ours)
    with pytest.raises(CacheError, match=r"other numbers of them.*users=all"):
        cache.check_items(others)
    for model in (
        {"checkpoint": "m", "artifacts": {"sequences": "z"}},
        {**ORIGIN.model, "new_items": "hash"},
        {"checkpoint": "m"},
    ):
        with pytest.raises(CacheError, match=r"other numbers of them"):
            old.check_items(Origin(model, True, "a"))
