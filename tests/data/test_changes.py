"""A file that changed after the training is seen without reading it again, where its size and time of change tell."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sage_pl.artifacts.store import Artifact, Store
from sage_pl.data import changes
from sage_pl.data.changes import changed_files
from sage_pl.data.interactions import Interactions
from sage_pl.data.sources.csv import CSV
from sage_pl.data.split import LeaveOneOut
from sage_pl.reference.source import Handled


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "shop.csv"
    rows = [f"u{user},i{(user * at) % 7},{at}" for user in range(9) for at in range(1, 6)]
    path.write_text("\n".join(["user,item,time", *rows, ""]))
    return path


def made(source: CSV | Handled, folder: Path) -> Artifact:
    return Store(folder / "artifacts").get(Interactions(source, LeaveOneOut()), {})


def test_an_equal_file_is_not_read_again(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = made(CSV(file), tmp_path)
    monkeypatch.setattr(changes, "file_digest", lambda path: pytest.fail(f"{path} is read"))
    assert changed_files(CSV(file), artifact) == []


def test_another_time_of_change_alone_is_no_change(file: Path, tmp_path: Path) -> None:
    artifact = made(CSV(file), tmp_path)
    os.utime(file, ns=(1, 1))
    assert changed_files(CSV(file), artifact) == []


@pytest.mark.parametrize("recorded", [True, False], ids=["", "an artifact of an earlier version"])
def test_a_longer_file_is_a_change(file: Path, tmp_path: Path, recorded: bool) -> None:
    artifact = made(CSV(file), tmp_path)
    if not recorded:
        (artifact.path / changes.FILE).unlink()
        assert changed_files(CSV(file), artifact) == []
    file.write_text(file.read_text() + "u1,i1,9\n")
    assert changed_files(CSV(file), artifact) == [file]
    file.unlink()
    assert changed_files(CSV(file), artifact) == [], "a file that is gone has no current data"


def test_only_the_file_that_changed_is_named(file: Path, tmp_path: Path) -> None:
    texts = tmp_path / "items.csv"
    texts.write_text("item,title\ni1,tea\n")
    source = CSV(file, text="title", items=texts)
    artifact = made(source, tmp_path)
    texts.write_text("item,title\ni1,green tea\n")
    assert changed_files(source, artifact) == [texts]


def test_every_source_names_the_files_that_its_fingerprint_hashes(file: Path, tmp_path: Path) -> None:
    (tmp_path / "inter.txt").write_text("".join(f"{user} {item}\n" for user in range(1, 5) for item in range(1, 6)))
    source = Handled(tmp_path)
    artifact = made(source, tmp_path)
    assert source.files().keys() <= source.fingerprint().keys()
    assert changed_files(source, artifact) == []
    (tmp_path / "inter.txt").write_text("1 2\n")
    assert changed_files(source, artifact) == [tmp_path / "inter.txt"]
