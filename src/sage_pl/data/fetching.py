"""Files of publishers, fetched once: resumed where a connection breaks off, and whole or absent under their name."""

from __future__ import annotations

import importlib
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sage_pl.artifacts.files import whole_folder
from sage_pl.artifacts.locks import locked
from sage_pl.data.sources.compressed import open_bytes
from sage_pl.data.sources.raw import DataError, Source
from sage_pl.errors import UserError

log = logging.getLogger(__name__)
_BLOCK = 1 << 18  # bytes
_LONGEST_PAUSE = 60.0  # seconds between two tries
_STARTS = {".gz": b"\x1f\x8b", ".zip": b"PK\x03\x04"}  # first bytes by the ending of a name
_AGAIN = {408, 425, 429, 500, 502, 503, 504}  # answers after which the same request may succeed


class FetchError(UserError):
    """A file cannot be fetched; the message names the address, what came in its place and what helps."""


def fetch(url: str, file: Path, md5: str | None = None, tries: int = 10, timeout: float = 30, pause: float = 1) -> Path:
    """The file of an address, by pooch: nothing is fetched where it is there, with the same checksum where one is known.

    What a broken connection leaves stays in a hidden file beside it, from which the next try, or the next call, goes on.

    Args:
        url: of the publisher.
        file: where it goes.
        md5: of the file; None where the publisher names none.
        tries: of the whole file.
        timeout: seconds without a byte, after which a try ends.
        pause: seconds before the second try; each further pause is twice as long.

    Raises:
        FetchError: the server refuses, answers with something else, or every try broke off.
    """
    pooch = _package()
    pooch.get_logger().setLevel(logging.WARNING)
    known = None if md5 is None else f"md5:{md5}"
    with locked(file.with_name(f".{file.name}.lock"), f"download of {file.name}"):
        try:
            pooch.retrieve(url, known, file.name, file.parent, downloader=_Resuming(file, tries, timeout, pause))
        except ValueError as error:  # of pooch: another checksum
            reason = " ".join(str(error).split())
            raise FetchError(f"{url} is another file than the one that is known ({reason}); try again later") from error
    return file


def size_of(url: str, timeout: float = 30) -> int | None:
    """Bytes of the file at an address, as the server says; None where it does not."""
    requests = _package("requests")
    try:
        answer = requests.head(url, allow_redirects=True, timeout=timeout, headers={"Accept-Encoding": "identity"})
        return int(answer.headers["Content-Length"]) if answer.ok else None
    except (requests.RequestException, KeyError, ValueError):
        return None


def _package(name: str = "pooch") -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise FetchError(f'fetching data needs the package {name}: pip install "sage-pl[data]"') from error


@dataclass
class _Resuming:
    """A downloader for pooch that goes on with what an earlier try left."""

    file: Path
    tries: int
    timeout: float
    pause: float

    def __call__(self, url: str, output_file: str, _: Any) -> None:
        requests, broken = _package("requests"), _package("urllib3.exceptions").HTTPError
        part, tag = (self.file.with_name(f".{self.file.name}.{ending}") for ending in ("part", "tag"))
        problem: object = None
        for number in range(self.tries):
            if number:
                pause = min(self.pause * 2 ** (number - 1), _LONGEST_PAUSE)
                log.info(
                    "%s broke off (%s); try %d of %d goes on at %s", url, problem, number + 1, self.tries, _mb(part)
                )
                time.sleep(pause)
            try:
                length = self._receive(requests, url, part, tag)
                if length is None or part.stat().st_size == length:
                    break
                problem = "the file ended early"
            except (requests.RequestException, broken) as error:
                problem = f"{type(error).__name__}: {error}"[:200]
        else:
            raise FetchError(f"{url} broke off {self.tries} times ({problem}); the same command goes on at {_mb(part)}")
        _check(part, url, through=length is None)
        os.replace(part, output_file)
        tag.unlink(missing_ok=True)

    def _receive(self, requests: Any, url: str, part: Path, tag: Path) -> int | None:
        """One request, for what the part lacks; the length of the whole file, None where the server does not say.

        ``tag`` keeps the file's ETag or date, so that a server whose file has changed since sends it from its beginning.
        """
        begun = part.stat().st_size if part.is_file() and tag.is_file() else 0
        headers = {"Accept-Encoding": "identity"}
        if begun:
            headers |= {"Range": f"bytes={begun}-", "If-Range": tag.read_text()}
        with requests.get(url, headers=headers, stream=True, timeout=self.timeout) as answer:
            if answer.status_code == 416:  # the part is as long as the file, or longer: begin again
                part.unlink(missing_ok=True)
                raise requests.ConnectionError("what was there is longer than the file")
            if answer.status_code in _AGAIN:
                raise requests.ConnectionError(f"the server answered {answer.status_code} {answer.reason}")
            if not answer.ok:
                raise FetchError(
                    f"{url} answered {answer.status_code} {answer.reason}; see the publisher's page for where the file is now"
                )
            if "html" in answer.headers.get("Content-Type", ""):
                raise FetchError(
                    f"{url} answered with a web page and no file; see the publisher's page for where it is now"
                )
            goes_on = answer.status_code == 206 and answer.headers.get("Content-Range", "").startswith(
                f"bytes {begun}-"
            )
            if begun and not goes_on:
                begun = 0
            if known := answer.headers.get("ETag") or answer.headers.get("Last-Modified"):
                tag.write_text(known)
            else:
                tag.unlink(missing_ok=True)
            length = answer.headers.get("Content-Length")
            total = None if length is None else begun + int(length)
            with part.open("ab" if begun else "wb") as stream, _bar(self.file.name, total, begun) as advance:
                while block := answer.raw.read1(
                    _BLOCK, decode_content=False
                ):  # what has arrived, so that a break loses none
                    stream.write(block)
                    advance(len(block))
        return total


@contextmanager
def _bar(name: str, total: int | None, begun: int) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal; yields what advances it by a number of bytes."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(20), DownloadColumn(), TransferSpeedColumn())
    off = not sys.stderr.isatty()
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True, disable=off) as rows:
        task = rows.add_task(name, total=total, completed=begun)
        yield lambda n: rows.advance(task, n)


def _mb(file: Path) -> str:
    return f"{file.stat().st_size / 1e6:.1f} MB" if file.is_file() else "its beginning"


def _check(part: Path, url: str, through: bool) -> None:
    """A compressed file begins as such files do, and can be read ``through`` where its length is unknown; else it is deleted.

    Raises:
        FetchError: it is something else, or breaks off.
    """
    start = next((start for ending, start in _STARTS.items() if url.endswith(ending)), b"")
    try:
        with part.open("rb") as stream:
            if stream.read(len(start)) != start:
                raise DataError(f"it is no {Path(url).suffix[1:]} file")
        if through and url.endswith(".gz"):
            with open_bytes(part) as content:
                while content.read(_BLOCK):
                    pass
    except DataError as error:
        part.unlink()
        raise FetchError(f"{url} answered with something else than its file ({error}); try again later") from error


def write_folder(source: Source, folder: Path, expect: Mapping[str, int]) -> None:
    """The data of a source as a folder of the project's own format, whole or absent.

    Args:
        source: of the publisher's files.
        folder: that ``dataset=folder`` reads: interactions.parquet and, where there is text, items.parquet.
        expect: numbers of users, items and interactions that are known.

    Raises:
        DataError: the source is damaged, or has other numbers.
    """
    raw = source.load()
    frame = raw.interactions.collect()
    numbers = {"users": frame["user_id"].n_unique(), "items": frame["item_id"].n_unique(), "interactions": frame.height}
    if wrong := {name: n for name, n in expect.items() if numbers[name] != n}:
        texts = ", ".join(f"{numbers[name]:,} {name} where {n:,} are known" for name, n in wrong.items())
        files = ", ".join(str(file.path) for file in source.files().values())
        raise DataError(f"the files have {texts}; delete {files} and fetch them again")
    with whole_folder(folder) as work:
        frame.write_parquet(work / "interactions.parquet")
        if raw.items is not None:
            raw.items.write_parquet(work / "items.parquet")
