"""Files fetched from a server on 127.0.0.1 that truncates, stalls and answers with something else."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sage_pl.data.fetching import FetchError, fetch, size_of
from tests.data.local_server import Server, serving

CONTENT = gzip.compress(np.random.default_rng(0).bytes(50_000), mtime=0)
NAME = "reviews.json.gz"


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as one:
        one.files[NAME] = CONTENT
        yield one


def get(server: Server, folder: Path, **more) -> Path:
    return fetch(server.url(NAME), folder / "raw" / NAME, **{"tries": 3, "timeout": 0.5, "pause": 0.01, **more})


def visible(folder: Path) -> list[str]:
    """Names in the folder that do not begin with a dot."""
    return sorted(file.name for file in (folder / "raw").iterdir() if not file.name.startswith("."))


def test_a_whole_answer_is_written_once_and_never_fetched_again(server: Server, tmp_path: Path) -> None:
    for _ in range(2):
        assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.requests == [("GET", NAME, None)]
    assert visible(tmp_path) == [NAME]
    assert size_of(server.url(NAME)) == len(CONTENT)
    assert size_of(server.url("absent")) is None


@pytest.mark.parametrize("fault", ["cut:20000", "stalls"])
def test_a_broken_answer_goes_on_where_it_broke_off(server: Server, tmp_path: Path, fault: str) -> None:
    server.faults = [fault, "503"]
    assert get(server, tmp_path).read_bytes() == CONTENT
    first, second, third = (asked for _, _, asked in server.requests)
    assert first is None
    assert second == third
    assert second is not None
    assert 0 < int(second[6:-1]) <= 25_100


def test_a_later_call_goes_on_and_nothing_half_written_has_the_name(server: Server, tmp_path: Path) -> None:
    server.faults = ["cut:1000", "cut:1000", "cut:1000"]
    with pytest.raises(FetchError, match=r"broke off 3 times .*; the same command goes on at 0\.0 MB"):
        get(server, tmp_path)
    assert visible(tmp_path) == []
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.requests[-1][2] == "bytes=3000-"


def test_a_file_that_changed_meanwhile_is_fetched_from_its_beginning(server: Server, tmp_path: Path) -> None:
    server.faults = ["cut:5000"] * 3
    with pytest.raises(FetchError):
        get(server, tmp_path)
    server.tag, server.files[NAME] = '"v2"', gzip.compress(b"new")
    assert gzip.decompress(get(server, tmp_path).read_bytes()) == b"new"


@pytest.mark.parametrize("fault", ["no ranges", "no length"])
def test_a_server_that_cannot_go_on_begins_again(server: Server, tmp_path: Path, fault: str) -> None:
    server.faults = ["cut:20000", fault]
    assert get(server, tmp_path).read_bytes() == CONTENT


def test_a_cut_answer_of_unknown_length_is_no_file(server: Server, tmp_path: Path) -> None:
    server.files[NAME], server.faults = CONTENT[:20_000], ["no length"]
    with pytest.raises(FetchError, match="breaks off"):
        get(server, tmp_path)
    assert visible(tmp_path) == []


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("404", "answered 404 Not Found; see the publisher's page"),
        ("403", "answered 403 Forbidden"),
        ("web page", "answered with a web page and no file"),
    ],
)
def test_a_refusal_is_not_tried_again(server: Server, tmp_path: Path, fault: str, message: str) -> None:
    server.faults = [fault]
    with pytest.raises(FetchError, match=message):
        get(server, tmp_path)
    assert len(server.requests) == 1
    assert visible(tmp_path) == []


def test_a_wrong_file_is_an_error_with_and_without_a_checksum(server: Server, tmp_path: Path) -> None:
    right = hashlib.md5(CONTENT).hexdigest()
    assert get(server, tmp_path, md5=right).read_bytes() == CONTENT
    with pytest.raises(FetchError, match="another file than the one that is known"):
        get(server, tmp_path / "other", md5=right.replace(right[0], "x"))
    assert visible(tmp_path / "other") == []
    server.files[NAME] = b"no gzip at all"
    with pytest.raises(FetchError, match="it is no gz file"):
        get(server, tmp_path / "third")
    assert visible(tmp_path / "third") == []
