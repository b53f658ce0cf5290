from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from sage_pl.data.sources.raw import DataError
from sage_pl.reference.source import Handled

PAIRS = "1 5\n1 9\n2 5\n1 5\n"


@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gzip"])
def test_positions_count_each_users_events(tmp_path: Path, zipped: bool) -> None:
    if zipped:
        (tmp_path / "inter.txt.gz").write_bytes(gzip.compress(PAIRS.encode()))
    else:
        (tmp_path / "inter.txt").write_text(PAIRS)
    raw = Handled(tmp_path).load()
    assert raw.items is None
    assert raw.interactions.collect().rows() == [(1, 5, 0), (1, 9, 1), (2, 5, 0), (1, 5, 2)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "inter.txt is empty"),
        (b"1 2\n3\n", "line 2: wanted 'user item', two whole numbers, got '3'"),
        (b"1 2 3\n", "line 1: wanted"),
        (b"1 x\n", "line 1: wanted"),
        (b"1 2\n\xff 3\n", "line 2, byte 4: not UTF-8"),
    ],
    ids=["empty", "one number", "three numbers", "word", "binary"],
)
def test_bad_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "inter.txt").write_bytes(content)
    with pytest.raises(DataError, match=message):
        Handled(tmp_path).load()


def test_absent_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no file inter\.txt in folder .*dataset\.path=DIR"):
        Handled(tmp_path).fingerprint()
