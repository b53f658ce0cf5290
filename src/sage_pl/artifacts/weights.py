"""Files of :func:`torch.save`, checked against their own checksums when they are read."""

from __future__ import annotations

import os
import pickle
import signal
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from sage_pl.errors import SettingError, machine_problem


class CheckpointError(SettingError):
    """A checkpoint is damaged."""


def read_weights(file: str | Path, map_location: Any = "cpu", mapped: bool = False) -> Any:
    """The content of a file of :func:`torch.save`, plain values and tensors only.

    Torch ignores the CRC-32 that its zip archive holds of every record; here each is compared first (0.25 s per GB).

    Args:
        file: its path.
        map_location: see :func:`torch.load`.
        mapped: leave the tensors in the file until they are used, on systems that replace a mapped file.

    Raises:
        CheckpointError: the file is cut, a record differs from its checksum, or its records are compressed or overlap, so
            that they could fill the memory.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            _check_records(file, archive)
            damaged = archive.testzip()
        if damaged is None:
            mapped = mapped and os.name == "posix"
            return torch.load(file, map_location=map_location, weights_only=True, mmap=mapped)
    except CheckpointError:
        raise
    except (*_DAMAGE, OSError) as error:
        if isinstance(error, FileNotFoundError) or machine_problem(error):
            raise
        raise CheckpointError(f"{file} is damaged or is no checkpoint ({_first_line(error)}); {_HELP}") from error
    raise CheckpointError(f"{file} is damaged: its record {damaged} differs from its checksum; {_HELP}")


def write_weights(content: Any, file: str | Path) -> None:
    """Write a file of :func:`torch.save`; Ctrl-C waits for its end.

    Torch's writer is C++ that calls Python for every record, and makes a RuntimeError of an exception there.
    """
    with Path(file).open("wb") as stream, _interrupts_wait():
        torch.save(content, stream)


@contextmanager
def _interrupts_wait() -> Iterator[None]:
    """Within it, SIGINT is noted, and delivered at the end; in other threads than the main one, which gets none, a no-op."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    noted: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: noted.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if noted:
            signal.raise_signal(signal.SIGINT)


def read_tensors(folder: Path, name: str) -> Any:
    """Tensors by name: ``name.safetensors`` of a folder, or ``name.pt`` by :func:`read_weights`.

    Raises:
        CheckpointError: the file is damaged, or the package safetensors is missing.
    """
    file = folder / f"{name}.safetensors"
    if not file.is_file():
        return read_weights(folder / f"{name}.pt")
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ModuleNotFoundError as error:
        raise CheckpointError(f'{file} needs the package safetensors; run: pip install "sage-pl[hub]"') from error
    try:
        return load_file(file)
    except SafetensorError as error:
        raise CheckpointError(f"{file} is damaged ({_first_line(error)}); fetch or write the folder again") from error


def _check_records(file: str | Path, archive: zipfile.ZipFile) -> None:
    records = archive.infolist()
    if any(one.compress_type for one in records) or sum(one.file_size for one in records) > Path(file).stat().st_size:
        raise CheckpointError(f"{file} is compressed, which torch.save does not do; {_HELP}")


_DAMAGE = (
    *(zipfile.BadZipFile, zipfile.LargeZipFile, pickle.UnpicklingError, RuntimeError, EOFError, ValueError),
    *(KeyError, IndexError, AttributeError, TypeError, NotImplementedError, OverflowError),
)
_HELP = "take another checkpoint of that run (best.ckpt, last.ckpt), or train again"


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]
