"""Locks: who holds one is named, a dead holder is none, and a file system without flock is no reason to wait for ever."""

from __future__ import annotations

import errno
import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from filelock import FileLock

from sage_pl.artifacts import locks
from sage_pl.artifacts.locks import LockError, locked

HOLD = """
import sys, time
from pathlib import Path
from sage_pl.artifacts.locks import locked
with locked(Path(sys.argv[1]), "it"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_holder_is_named(tmp_path: Path) -> None:
    file = tmp_path / "new" / "x.lock"
    with (
        locked(file, "the thing"),
        pytest.raises(LockError, match=rf"the thing is in use by process {os.getpid()} of "),
    ):
        _try(file, "the thing")
    _try(file, "the thing")
    assert not list(file.parent.glob("*.holder"))


def test_a_dead_process_holds_nothing(tmp_path: Path) -> None:
    file = tmp_path / "x.lock"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(file)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        process.stdout.readline()
        with pytest.raises(LockError, match=f"process {process.pid} of "), locked(file, "it", wait=False):
            pass
        process.kill()
    with locked(file, "it", wait=False):
        pass


def test_a_process_that_waits_says_for_whom_at_intervals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(locks, "SAY_EVERY", 0.1)
    lock = FileLock(tmp_path / "x.lock", thread_local=False)
    lock.acquire()
    release = threading.Timer(0.5, lock.release)
    release.start()
    with caplog.at_level(logging.INFO), locked(tmp_path / "x.lock", "it"):
        pass
    assert len([line for line in caplog.messages if line.startswith("it: waiting for another process")]) >= 2


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_without_flock_the_existence_of_a_file_is_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def acquire(self: FileLock) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(locks.FileLock, "_acquire", acquire)
    file = tmp_path / "x.lock"
    with locked(file, "it"):
        assert (tmp_path / "x.lock.soft").exists()
        with pytest.raises(LockError, match=f"process {os.getpid()} of "), locked(file, "it", wait=False):
            pass
    (tmp_path / "x.lock.soft").write_text(f"{_dead()}\n{locks.socket.gethostname()}\n")
    start = time.monotonic()
    with locked(file, "it"):
        assert time.monotonic() - start < 10


def _dead() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    return process.pid


def test_a_lock_of_another_user_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def acquire(self: FileLock) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "x.lock"))

    monkeypatch.setattr(locks.FileLock, "_acquire", acquire)
    with pytest.raises(LockError, match=r"x.lock cannot be opened, since it belongs to .*; make the folder"):
        _try(tmp_path / "x.lock", "it")


def _try(file: Path, what: str) -> None:
    with locked(file, what, wait=False):
        pass


def test_others_of_the_group_may_lock_a_shared_cache(tmp_path: Path) -> None:
    with locked(tmp_path / "x.lock", "it"):
        assert (tmp_path / "x.lock").stat().st_mode & 0o666 == 0o666
