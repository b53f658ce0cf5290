"""The bytes of a file, decompressed where its first bytes say that it is compressed, whatever its name."""

from __future__ import annotations

import bz2
import gzip
import importlib
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import polars as pl

from sage_pl.data.sources.raw import DataError

_REFUSED = {  # first bytes -> what the file is, what helps
    b"PAR1": ("a parquet file", "dataset=folder reads interactions.parquet of a folder"),
    b"ARROW1": ("an Arrow file", "write it as CSV, or as parquet for dataset=folder"),
    b"7z\xbc\xaf": ("a 7z archive", "unpack it: 7z x FILE"),
    b"Rar!": ("a rar archive", "unpack it: unrar x FILE"),
    b"\x04\x22\x4d\x18": ("compressed by lz4", "decompress it: lz4 -d FILE"),
    b"\xd0\xcf\x11\xe0": ("an old Excel workbook", "save the sheet as CSV"),
    b"SQLite format 3": ("a SQLite database", "write the table as CSV"),
}
_DAMAGED = (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile)


@contextmanager
def open_bytes(path: Path) -> Iterator[BinaryIO]:
    """The bytes of a plain, gzip, bzip2, xz, zip (one file inside) or zstd file.

    Before Python 3.14, polars reads zstd: UTF-8 alone, and every line ends with a newline.

    Raises:
        DataError: the file is of another kind, which the message names, or breaks off.
    """
    with path.open("rb") as stream:
        head = stream.read(16)
    for start, (kind, help) in _REFUSED.items():
        if head.startswith(start):
            raise DataError(f"{path} is {kind}, wanted a text file; {help.replace('FILE', path.name)}")
    try:
        with _opener(head)(path) as content:
            yield content
    except _DAMAGED as error:
        raise DataError(f"{path} breaks off or is damaged ({error}); fetch the file again") from error
    except OSError as error:  # of bz2 and gzip, which set no error number; others are the file system's
        if error.errno is not None:
            raise
        raise DataError(f"{path} breaks off or is damaged ({error}); fetch the file again") from error


def is_plain(path: Path) -> bool:
    """Whether the bytes of the file are those that :func:`open_bytes` gives."""
    with path.open("rb") as stream:
        return _opener(stream.read(16)) is _plain


def _opener(head: bytes) -> Callable[[Path], BinaryIO]:
    openers: dict[bytes, Callable[[Path], Any]] = {
        b"\x1f\x8b": gzip.GzipFile,
        b"BZh": bz2.BZ2File,
        b"\xfd7zXZ\0": lzma.LZMAFile,
        b"PK\x03\x04": _only_member,
        b"\x28\xb5\x2f\xfd": _zstd,
    }
    return next((opener for start, opener in openers.items() if head.startswith(start)), _plain)


def _plain(path: Path) -> BinaryIO:
    return path.open("rb")


def _only_member(path: Path) -> BinaryIO:
    with zipfile.ZipFile(path) as archive:
        members = [entry for entry in archive.infolist() if not entry.is_dir() and "__MACOSX" not in entry.filename]
        names = [entry.filename for entry in members]
        if "[Content_Types].xml" in names:
            raise DataError(f"{path} is an Excel workbook, wanted a text file; save the sheet as CSV")
        if len(members) != 1:
            listed = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
            raise DataError(
                f"{path} is a zip archive of {len(names)} files ({listed}), wanted one; unpack it: unzip {path.name}"
            )
        if members[0].flag_bits & 1:
            raise DataError(f"{path} is a zip archive with a password; unpack it: unzip {path.name}")
        return cast(BinaryIO, archive.open(members[0]))


def _zstd(path: Path) -> BinaryIO:
    try:
        module = importlib.import_module("compression.zstd")
    except ModuleNotFoundError:
        return _lines_by_polars(path)
    return cast(BinaryIO, module.open(path, "rb"))


def _lines_by_polars(path: Path) -> BinaryIO:
    try:
        lines = pl.read_lines(path, glob=False)["line"]
    except (AttributeError, pl.exceptions.ComputeError) as error:  # the former: an earlier polars
        reason = "with this polars" if isinstance(error, AttributeError) else "unless its text is UTF-8"
        raise DataError(
            f"{path} is compressed by zstd, which this Python (before 3.14) cannot read {reason}; decompress it: "
            f"zstd -d {path.name}"
        ) from None
    return io.BytesIO("".join(f"{line}\n" for line in lines).encode())
