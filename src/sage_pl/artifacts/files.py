"""Whole files and folders, and the sizes and hashes that tell a damaged one."""

from __future__ import annotations

import errno
import functools
import hashlib
import os
import platform
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sage_pl.errors import SettingError, UserError

MANIFEST = "manifest.json"
_HASH = re.compile(r"[0-9a-f]{64}")
_HOST = re.sub(r"\W", "-", platform.node())[:32]
Records = dict[str, dict[str, Any]]


class ArtifactError(UserError, RuntimeError):
    """An artifact is absent or damaged, or the steps cannot produce it."""


def file_digest(path: Path) -> str:
    """sha256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """A hidden path beside ``path`` to write to, flushed to disk and renamed to ``path`` at the end.

    The previous file is readable until then. After an error the new one is removed and the error names ``path`` in a note; what
    a killed process left is removed by the next write to ``path``. Creates the folder of ``path`` if it is absent.
    """
    with _beside(Path(path)) as part:
        yield part
        _flush(part)
        os.replace(part, path)


def write_text(path: str | Path, text: str) -> None:
    """Write a text by :func:`whole_file`, in UTF-8 with line ends as they are."""
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8", newline="")


@contextmanager
def whole_folder(path: str | Path) -> Iterator[Path]:
    """An empty hidden folder beside ``path``, likewise. ``path`` must be absent or empty at the end."""
    with _beside(Path(path)) as part:
        part.mkdir()
        yield part
        for file in sorted(part.rglob("*"), reverse=True):  # what is in a folder before the folder
            _flush(file)
        _flush(part)
        os.replace(part, path)


def refuse_existing(folder: Path) -> None:
    """Raise an error where a folder that a command writes is there."""
    if folder.exists():
        raise SettingError(f"{folder} exists already; choose another folder=DIR or remove it")


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    part = path.with_name(f".{path.name}.{_HOST}-{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_remnants(path)
        yield part
        _flush(path.parent)
    except BaseException as error:
        error.add_note(f"while writing {path}")
        raise
    finally:
        with suppress(OSError):  # a read-only disk: the error that ends the write says so
            remove(part)


def _remove_remnants(path: Path) -> None:
    """Remove what dead processes of this machine, and earlier ones of this number, left beside ``path``."""
    pattern = re.compile(rf"\.{re.escape(path.name)}\.{re.escape(_HOST)}-(\d+)\.tmp")
    for remnant in path.parent.iterdir():
        match = pattern.fullmatch(remnant.name)
        if match and (int(match[1]) == os.getpid() or not lives(int(match[1]))):
            remove(remnant)


def lives(process: int) -> bool:
    """Whether a process of this machine runs; True where the system cannot tell."""
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _flush(path: Path) -> None:
    """Flush a file, or a folder's list of names, to the disk."""
    if path.is_dir() and os.name != "posix":
        return
    handle = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system without this operation
            raise
    finally:
        os.close(handle)


def remove(path: Path) -> None:
    """Remove a file or a folder with its content, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def records_of(folder: Path) -> Records:
    """``bytes`` and ``sha256`` of every file below a folder, by its path in it."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {
        file.relative_to(folder).as_posix(): {"bytes": file.stat().st_size, "sha256": file_digest(file)}
        for file in files
    }


def damage_in(folder: Path, records: object, hashes: bool) -> str | None:
    """How a folder's files differ from their records; None if they do not.

    Args:
        folder: of the files.
        records: as :func:`records_of` gives them; of any type, since they come from a file.
        hashes: compare hashes too, once per process and file: 0.5 s per GB beside reading it from the disk.
    """
    if not isinstance(records, Mapping):
        return f"{folder} has a manifest that lists no files"
    for name, record in records.items():
        if (problem := _record_problem(name, record)) is not None:
            return f"the manifest of {folder} {problem}"
        file, size = folder / name, record["bytes"]
        if not file.is_file():
            return f"{file} is missing"
        status = file.stat()
        if status.st_size != size:
            return f"{file} has {status.st_size} bytes, and its manifest {size}"
        if hashes and _digest(str(file), status.st_size, status.st_mtime_ns, status.st_ino) != record["sha256"]:
            return f"{file} has another content than its manifest records (sha256)"
    return None


def _record_problem(name: object, record: object) -> str | None:
    parts = name.split("/") if isinstance(name, str) else [""]
    if any(part in ("", ".", "..") or "\\" in part or ":" in part or "\0" in part for part in parts):
        return f"lists {name!r}, which is no file inside it"
    size, digest = (record.get("bytes"), record.get("sha256")) if isinstance(record, Mapping) else (None, None)
    if type(size) is not int or not isinstance(digest, str) or not _HASH.fullmatch(digest):
        return f"has no size and hash of {name}"
    return None


@functools.cache
def _digest(path: str, size: int, changed: int, number: int) -> str:
    """sha256 of a file, computed once per process while its size, time of change and inode stay."""
    return file_digest(Path(path))


def whole_lines(file: Path) -> bytes:
    """A text file up to the end of its last whole line: a killed process may have left half of one."""
    content = file.read_bytes()
    return content[: content.rfind(b"\n") + 1]


def unfinished(out: Path) -> Path:
    """A folder beside a step's output that survives a crash, for work that can be continued."""
    key = out.name.strip(".").split(".")[0]
    return out.with_name(f".{key}.unfinished")
