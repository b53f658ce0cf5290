"""Atomic writes of files and folders, and hashes of files."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def file_digest(path: Path) -> str:
    """sha256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """A hidden path beside ``path`` to write to; renamed to ``path`` at the end, removed after an error.

    Creates the folder of ``path`` if it is absent.
    """
    part = _beside(Path(path))
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: str | Path) -> Iterator[Path]:
    """An empty hidden folder beside ``path``, likewise. ``path`` must be absent or empty."""
    part = _beside(Path(path))
    shutil.rmtree(part, ignore_errors=True)  # left by a killed process with the same id
    part.mkdir()
    try:
        yield part
        os.replace(part, path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _beside(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def unfinished(out: Path) -> Path:
    """A folder beside a step's output that survives a crash, for work that can be continued."""
    key = out.name.strip(".").split(".")[0]
    return out.with_name(f".{key}.unfinished")
