"""Whole files: what a full disk, an error and a killed process leave, and which damage is noticed."""

from __future__ import annotations

import errno
import os
import resource
import signal
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sage_pl.artifacts.files import damage_in, records_of, whole_file, whole_folder, whole_lines, write_text
from sage_pl.errors import machine_problem


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file of this process may exceed ``size`` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


def killed_while(write: str, path: Path) -> None:
    """A process that is killed in the middle of a write."""
    child = os.fork()
    if not child:
        with (whole_file if write == "file" else whole_folder)(path) as part:
            (part if write == "file" else part / "x").write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)


def test_a_killed_write_leaves_the_previous_file_and_the_next_write_removes_its_remnant(tmp_path: Path) -> None:
    write_text(tmp_path / "x", "first")
    killed_while("file", tmp_path / "x")
    assert (tmp_path / "x").read_text() == "first"
    assert len(list(tmp_path.iterdir())) == 2
    write_text(tmp_path / "x", "second")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("x", "second")]


def test_a_killed_folder_is_removed_by_the_next_write(tmp_path: Path) -> None:
    killed_while("folder", tmp_path / "x")
    assert not (tmp_path / "x").exists()
    with whole_folder(tmp_path / "x") as part:
        (part / "y").write_text("whole")
    assert [file.name for file in tmp_path.iterdir()] == ["x"]


def test_a_running_process_keeps_its_part(tmp_path: Path) -> None:
    with whole_file(tmp_path / "x") as part:
        other = part.with_name(part.name.replace(f"-{os.getpid()}.", f"-{os.getppid()}."))
        other.write_text("of a process that runs")
        part.write_text("mine")
    with whole_file(tmp_path / "x") as part:
        part.write_text("mine")
    assert other.is_file()


def test_content_and_names_are_flushed_before_and_after_the_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (calls.append(kind(handle)), fsync(handle))[1])
    monkeypatch.setattr(os, "replace", lambda *names: (calls.append("rename"), replace(*names))[1])
    write_text(tmp_path / "x", "text")
    assert calls == ["file", "rename", "folder"]
    calls.clear()
    with whole_folder(tmp_path / "y") as part:
        (part / "a").touch()
    assert calls == ["file", "folder", "rename", "folder"]


def kind(handle: int) -> str:
    return "folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file"


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "x", "text")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o640


WRITERS = {
    "text": lambda file: file.write_text("x" * 100_000),
    "npy": lambda file: np.save(file.open("wb"), np.zeros(100_000)),
    "parquet": lambda file: pl.DataFrame({"a": np.random.default_rng(0).random(100_000)}).write_parquet(file),
    "csv": lambda file: pl.DataFrame({"a": range(100_000)}).write_csv(file),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_where_the_space_ends_the_previous_file_stays_and_the_error_names_it(tmp_path: Path, writer: str) -> None:
    file = tmp_path / "x"
    file.write_text("before")
    with pytest.raises((OSError, pl.exceptions.PolarsError)) as caught, largest_file(4096), whole_file(file) as part:
        WRITERS[writer](part)
    assert str(machine_problem(caught.value)).startswith(f"{file}: ")
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("x", "before")]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EMFILE, errno.EIO])
def test_the_systems_errors_are_one_sentence_with_the_path(number: int) -> None:
    try:
        raise RuntimeError("failed writing") from OSError(number, os.strerror(number), "/somewhere/x")
    except RuntimeError as error:
        problem = machine_problem(error)
    assert problem is not None
    assert problem.startswith("/somewhere/x: ")
    assert "\n" not in problem


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory: you tried to"),
        RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("can't start new thread"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ],
)
def test_lack_of_memory_is_one_sentence(error: Exception) -> None:
    assert "memory" in str(machine_problem(error))


@pytest.mark.parametrize("error", [KeyError("x"), FileNotFoundError(2, "no file", "x"), RuntimeError("a bug")])
def test_other_errors_are_none_of_the_machine(error: Exception) -> None:
    assert machine_problem(error) is None


def test_a_half_line_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("a,b\n1,0.25\n2,0.1")
    assert whole_lines(tmp_path / "x") == b"a,b\n1,0.25\n"


@pytest.mark.parametrize(
    ("records", "problem"),
    [
        (None, "lists no files"),
        ([], "lists no files"),
        ({"../x": {"bytes": 1, "sha256": "0" * 64}}, "no file inside it"),
        ({"/etc/passwd": {"bytes": 1, "sha256": "0" * 64}}, "no file inside it"),
        ({"a//b": {"bytes": 1, "sha256": "0" * 64}}, "no file inside it"),
        ({"x": 5}, "no size and hash of x"),
        ({"x": {"bytes": True, "sha256": "0" * 64}}, "no size and hash of x"),
        ({"x": {"bytes": 4, "sha256": 7}}, "no size and hash of x"),
        ({"y": {"bytes": 4, "sha256": "0" * 64}}, "y is missing"),
        ({"x": {"bytes": 5, "sha256": "0" * 64}}, "has 4 bytes, and its manifest 5"),
        ({"x": {"bytes": 4, "sha256": "0" * 64}}, "another content"),
    ],
)
def test_damage_is_named(tmp_path: Path, records: object, problem: str) -> None:
    (tmp_path / "x").write_text("text")
    assert problem in str(damage_in(tmp_path, records, hashes=True))


def test_hashes_are_computed_once_per_process_and_again_after_a_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "x").write_text("text")
    records = records_of(tmp_path)
    assert list(records) == ["below/x"]
    assert damage_in(tmp_path, records, hashes=True) is None
    with monkeypatch.context() as patch:
        patch.setattr("sage_pl.artifacts.files.file_digest", lambda file: pytest.fail("hashed again"))
        assert damage_in(tmp_path, records, hashes=True) is None
    (tmp_path / "below" / "x").write_text("tent")
    assert damage_in(tmp_path, records, hashes=False) is None
    assert "another content" in str(damage_in(tmp_path, records, hashes=True))
