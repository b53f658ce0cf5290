"""Checkpoints: a flipped bit is noticed, and half a file never takes the place of a whole one."""

from __future__ import annotations

import errno
import random
import signal
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from sage_pl.artifacts.checkpoints import WholeCheckpoints
from sage_pl.artifacts.weights import CheckpointError, read_weights, write_weights
from sage_pl.errors import machine_problem
from tests.artifacts.test_files import largest_file

CONTENT = {"state_dict": {"w": torch.arange(500.0)}, "epoch": 3}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    WholeCheckpoints().save_checkpoint(CONTENT, tmp_path / "runs" / "x.ckpt")
    return tmp_path / "runs" / "x.ckpt"


def test_what_is_written_is_read(file: Path) -> None:
    content = WholeCheckpoints().load_checkpoint(file)
    assert content["epoch"] == 3
    assert torch.equal(content["state_dict"]["w"], CONTENT["state_dict"]["w"])
    assert [one.name for one in file.parent.iterdir()] == ["x.ckpt"]


class Pressed:
    """A value whose pickling presses Ctrl-C."""

    def __reduce__(self) -> Any:
        signal.raise_signal(signal.SIGINT)
        return OrderedDict, ()


def test_ctrl_c_waits_until_a_file_is_written(tmp_path: Path) -> None:
    """Within torch's writer it would be a RuntimeError, or the file would be lost."""
    before = signal.getsignal(signal.SIGINT)
    file = tmp_path / "x.pt"
    with pytest.raises(KeyboardInterrupt):
        write_weights({"pressed": Pressed(), "w": torch.ones(3)}, file)
    assert torch.equal(read_weights(file)["w"], torch.ones(3))
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("seed", range(60))
def test_a_flipped_bit_changes_nothing_or_is_an_error(file: Path, seed: int) -> None:
    """Torch reads such a file without a word."""
    draw = random.Random(seed)
    content = bytearray(file.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    file.write_bytes(content)
    with suppress(CheckpointError):
        assert torch.equal(read_weights(file)["state_dict"]["w"], CONTENT["state_dict"]["w"])


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_cut_file_is_an_error(file: Path, share: float) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError, match=r"damaged or is no checkpoint .*best\.ckpt"):
        read_weights(file)


def test_a_full_disk_leaves_the_previous_checkpoint(file: Path) -> None:
    with pytest.raises(RuntimeError) as caught, largest_file(1024):
        WholeCheckpoints().save_checkpoint({"w": torch.rand(100_000)}, file)
    assert str(machine_problem(caught.value)).startswith(f"{file}: ")
    assert read_weights(file)["epoch"] == 3
    assert [one.name for one in file.parent.iterdir()] == ["x.ckpt"]


def test_the_temporary_folder_has_no_part_in_it(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/nowhere")
    monkeypatch.setattr("tempfile.mkstemp", lambda *a, **k: pytest.fail("written elsewhere"))
    WholeCheckpoints().save_checkpoint(CONTENT, file)


def test_a_disk_error_while_reading_is_no_damage(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **named: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files", str(file))

    monkeypatch.setattr("zipfile.ZipFile", fail)
    with pytest.raises(OSError, match="Too many"):
        read_weights(file)
