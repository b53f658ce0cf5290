"""Locks between processes. Each names its holder, works without ``flock``, and ends with the process that holds it."""

from __future__ import annotations

import datetime as dt
import errno
import getpass
import json
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from sage_pl.artifacts.files import lives
from sage_pl.errors import UserError

log = logging.getLogger(__name__)
SAY_EVERY = 60.0  # seconds between two log lines of a waiting process
_NO_FLOCK = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}


class LockError(UserError, RuntimeError):
    """Another process holds a lock, or the lock cannot be made; the message says who and where."""


@contextmanager
def locked(file: Path, what: str, wait: bool = True) -> Iterator[None]:
    """Hold the lock ``file``; the operating system releases it when this process ends.

    Where the file system has no ``flock``, the existence of ``<file>.soft`` is the lock, with the holder's process id and
    host in it: one of an ended process on this host is removed, one of another host is waited for.

    Args:
        file: of the lock; created if absent, with its folder. ``<file>.holder`` names the holder meanwhile.
        what: it guards, for messages.
        wait: until another process releases it; each minute a log line names that process.

    Raises:
        LockError: another process holds it and ``wait`` is false, or the file cannot be locked.
    """
    lock = _acquired(file, what, wait)
    note = _note(file)
    try:
        with suppress(OSError):  # a message without the holder's name is the only consequence
            note.write_text(json.dumps(_this_process()))
        yield
    finally:
        with suppress(OSError):
            note.unlink(missing_ok=True)
        lock.release()


def _acquired(file: Path, what: str, wait: bool) -> BaseFileLock:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            return _waited(FileLock(file, mode=0o666), file, what, wait)
        except OSError as error:
            if error.errno not in _NO_FLOCK:
                raise
            soft = file.with_name(f"{file.name}.soft")
            log.info("%s: the file system has no flock; the existence of %s is the lock", what, soft)
            return _waited(SoftFileLock(soft), file, what, wait)
    except PermissionError as error:
        raise LockError(
            f"{what}: the lock {error.filename or file} cannot be opened, since it belongs to {_owner(file)}; make the folder "
            f"{file.parent} writable for you, or choose another (paths.outputs=..., paths.artifacts=...)"
        ) from error
    except OSError as error:
        raise LockError(f"{what}: {file} cannot be locked: {error.strerror or error}; choose another folder") from error


def _waited(lock: BaseFileLock, file: Path, what: str, wait: bool) -> BaseFileLock:
    seconds = 0.0
    while True:
        try:
            lock.acquire(timeout=seconds)
        except Timeout:
            if not wait:
                raise LockError(f"{what} is in use by {holder(file)}") from None
            log.info("%s: waiting for %s", what, holder(file))
            seconds = SAY_EVERY
        else:
            return lock


def holder(file: Path) -> str:
    """Who holds a lock, in words."""
    try:
        about: Any = json.loads(_note(file).read_text())
        pid, host, user, since = int(about["pid"]), about["host"], about["user"], about["since"]
    except (OSError, ValueError, KeyError, TypeError):
        return f"another process (its lock is {file})"
    text = f"process {pid} of {user} on {host}, since {since}"
    if host != socket.gethostname():
        return f"{text}; if that process has ended, delete {file}.soft where it exists"
    return text if lives(pid) else f"{text}, which has ended; a process that it started still holds {file}"


def _this_process() -> dict[str, Any]:
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):  # a user id without a name; Windows without one has no ids either
        user = f"user {os.getuid()}" if os.name == "posix" else "an unnamed user"
    since = dt.datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    return {"pid": os.getpid(), "host": socket.gethostname(), "user": user, "since": since}


def _note(file: Path) -> Path:
    return file.with_name(f"{file.name}.holder")


def _owner(file: Path) -> str:
    for place in (file, file.parent):
        with suppress(OSError, KeyError, NotImplementedError):
            return place.owner()
    return "another user"
