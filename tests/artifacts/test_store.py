from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import polars as pl
import pytest

from sage_pl import processes
from sage_pl.artifacts.building import build
from sage_pl.artifacts.files import _HOST, whole_file, whole_folder
from sage_pl.artifacts.identity import identity
from sage_pl.artifacts.store import Artifact, ArtifactError, Store
from tests.joined import joined


@dataclass(frozen=True)
class Source:
    """Writes one number, and a line into ``log`` each time it works."""

    value: int = 1
    log: str = field(default=os.devnull, compare=False)
    pause: float = field(default=0.0, compare=False)

    name: ClassVar[str] = "source"
    version: ClassVar[int] = 1
    inputs: ClassVar[tuple[str, ...]] = ()
    libraries: ClassVar[tuple[str, ...]] = ()

    def run(self, inputs: Mapping[str, Artifact], out: Path) -> None:
        with open(self.log, "a") as stream:
            stream.write("source\n")
        time.sleep(self.pause)
        np.save(out / "number.npy", self.value)


@dataclass(frozen=True)
class Scale:
    """Multiplies its input's number."""

    factor: int = 2
    of: str = "source"
    log: str = field(default=os.devnull, compare=False)

    name: ClassVar[str] = "scale"
    version: ClassVar[int] = 1
    libraries: ClassVar[tuple[str, ...]] = ("numpy",)

    @property
    def inputs(self) -> tuple[str, ...]:
        return (self.of,)

    def run(self, inputs: Mapping[str, Artifact], out: Path) -> None:
        with open(self.log, "a") as stream:
            stream.write("scale\n")
        np.save(out / "number.npy", inputs[self.of].array("number") * self.factor)


@dataclass(frozen=True)
class Broken(Source):
    def run(self, inputs: Mapping[str, Artifact], out: Path) -> None:
        super().run(inputs, out)
        raise KeyboardInterrupt


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    (tmp_path / "log").touch()
    return tmp_path / "log"


def test_a_result_is_made_once_and_found_again(store, log) -> None:
    step = Source(3, str(log))
    first, second = store.get(step, {}), store.get(step, {})
    assert first.array("number") == 3
    assert first == second == Artifact.at(first.path)
    assert log.read_text() == "source\n"


def test_another_cache_is_read_and_never_written_to(store, log, tmp_path) -> None:
    first = store.get(Source(3, str(log)), {})
    before = sorted(store.root.rglob("*"))
    mine = Store(tmp_path / "mine", also=[store.root])
    assert mine.get(Source(3, str(log)), {}).path == first.path
    assert mine.get(Source(4, str(log)), {}).path.is_relative_to(tmp_path / "mine")
    assert sorted(store.root.rglob("*")) == before


def test_a_manifest_holds_what_stands_for_a_hidden_text(tmp_path) -> None:
    hidden = Store(tmp_path, hidden={"source": "${oc.env:X}"}).get(
        Scale(5), {"source": Store(tmp_path).get(Source(), {})}
    )
    assert hidden.manifest["params"]["of"] == "${oc.env:X}"
    assert hidden.key == Store(tmp_path).key(Scale(5), {"source": Store(tmp_path).get(Source(), {})})


def test_a_manifest_tells_what_made_the_result(store) -> None:
    done = build({"source": Source(3), "scale": Scale(5)}, ["scale"], store)
    manifest = json.loads((done["scale"].path / "manifest.json").read_text())
    assert manifest["params"] == {"class": "Scale", "factor": 5, "of": "source"}
    assert manifest["parents"] == {"source": done["source"].key}
    assert manifest["libraries"] == {"numpy": np.__version__}
    assert list(manifest["files"]) == ["number.npy"]


def test_a_step_whose_package_is_not_installed_is_named_with_the_command_that_helps(store, monkeypatch) -> None:
    monkeypatch.setattr(Scale, "libraries", ("no-such-package",))
    with pytest.raises(ArtifactError, match=r"step scale needs the package no-such-package: pip install 'sage-pl\[sem"):
        build({"source": Source(), "scale": Scale()}, ["scale"], store)


@pytest.mark.parametrize(
    ("change", "runs"),
    [
        pytest.param({"scale": Scale(7)}, ["scale"], id="child"),
        pytest.param({"source": Source(4)}, ["source", "scale"], id="parent"),
        pytest.param({"source": Source(1, pause=0.001)}, [], id="no matter"),
    ],
)
def test_a_change_reruns_only_what_depends_on_it(store, log, change, runs) -> None:
    steps = {"source": Source(), "scale": Scale()}
    build(steps, ["scale"], store)
    changed = {name: replace(step, log=str(log)) for name, step in {**steps, **change}.items()}
    build(changed, ["scale"], store)
    assert log.read_text().split() == runs


def test_a_new_version_of_the_code_reruns_it(store, monkeypatch) -> None:
    before = store.key(Source(), {})
    monkeypatch.setattr(Source, "version", 2)
    assert store.key(Source(), {}) != before


def test_a_crash_leaves_nothing_behind(store) -> None:
    with pytest.raises(KeyboardInterrupt):
        store.get(Broken(), {})
    assert [file.name for file in (store.root / "source").iterdir() if not file.name.endswith(".lock")] == []


def dead_process() -> int:
    child = multiprocessing.get_context("fork").Process(target=lambda: None)
    child.start()
    child.join()
    assert child.pid
    return child.pid


def interrupted(writing: AbstractContextManager[Path], write: Callable[[Path], None]) -> None:
    with writing as part:
        write(part)
        assert part.exists()
        raise KeyboardInterrupt


def test_a_file_appears_whole_or_not_at_all(tmp_path) -> None:
    file = tmp_path / "made" / "x.txt"
    with whole_file(file) as part:
        part.write_text("first")
        assert not file.exists()
        assert part.parent == file.parent
    with pytest.raises(KeyboardInterrupt):
        interrupted(whole_file(file), Path.touch)
    assert file.read_text() == "first"
    with whole_file(str(file)) as part:
        part.write_text("third")
    assert file.read_text() == "third"
    assert list(file.parent.iterdir()) == [file]


def test_a_folder_appears_whole_or_not_at_all(tmp_path) -> None:
    folder = tmp_path / "made" / "x"
    with pytest.raises(KeyboardInterrupt):
        interrupted(whole_folder(folder), lambda part: (part / "half").touch())
    assert list(folder.parent.iterdir()) == []
    for process in (os.getpid(), dead_process()):
        left = folder.with_name(f".x.{_HOST}-{process}.tmp")  # by a process that was killed
        left.mkdir()
        (left / "old").touch()
    folder.mkdir()  # empty ones may be replaced
    with whole_folder(folder) as part:
        (part / "file").touch()
        assert list(folder.iterdir()) == []
    assert [path.name for path in folder.iterdir()] == ["file"]
    with pytest.raises(OSError, match="not empty"), whole_folder(folder) as part:
        (part / "other").touch()
    assert [path.name for path in folder.parent.rglob("*")] == ["x", "file"]


def make(root: Path, log: Path, barrier: multiprocessing.synchronize.Barrier) -> None:
    barrier.wait()
    Store(root).get(Source(1, str(log), pause=0.2), {})


def test_two_processes_do_the_work_once(store, log) -> None:
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(2)
    workers = [context.Process(target=make, args=(store.root, log, barrier)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=20)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert log.read_text() == "source\n"


@dataclass(frozen=True)
class Joint(Source):
    """A step in which every process takes part."""

    joint: ClassVar[bool] = True

    def run(self, inputs: Mapping[str, Artifact], out: Path) -> None:
        with open(self.log, "a") as stream:
            stream.write(f"{processes.rank()}{processes.agreed(processes.rank())}\n")
        if processes.rank() == 0:
            np.save(out / "number.npy", np.array([self.value]))


@pytest.mark.parametrize(("kind", "lines"), [(Source, ["source"]), (Joint, ["00", "10"])])
def test_processes_that_train_together_make_a_result_once(store, log, kind, lines) -> None:
    def get() -> tuple[str, int]:
        for _ in range(2):
            artifact = store.get(kind(1, str(log)), {})
        return artifact.key, artifact.array("number").tolist()

    first, second = joined(get)
    assert first == second
    assert sorted(log.read_text().split()) == lines


def test_unknown_steps_are_named(store) -> None:
    with pytest.raises(ArtifactError, match=r"no step is called 'source' \(an input of scale\); known steps: scale"):
        build({"scale": Scale()}, ["scale"], store)


def test_a_circle_is_shown(store) -> None:
    steps = {"a": Scale(of="b"), "b": Scale(of="a")}
    with pytest.raises(ArtifactError, match=r"in a circle: a -> b -> a"):
        build(steps, ["a"], store)


def test_rows_of_a_table_are_counted_without_reading_it(tmp_path) -> None:
    pl.DataFrame({"item": range(7), "title": ["t"] * 7}).write_parquet(tmp_path / "items.parquet")
    artifact = Artifact("key", tmp_path, {})
    assert artifact.height("items") == artifact.frame("items").height == 7


def test_absent_files_and_unfinished_results_are_errors(store, tmp_path) -> None:
    with pytest.raises(ArtifactError, match=r"is not a finished artifact .* run scripts/prepare\.py"):
        Artifact.at(tmp_path)
    with pytest.raises(ArtifactError, match=r"has no file other\.npy; delete that folder"):
        store.get(Source(), {}).array("other")


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def altered(file: Path, change: Mapping[str, object]) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | change))


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a flipped bit": lambda folder: flip(folder / "number.npy"),
    "a cut file": lambda folder: (folder / "number.npy").write_bytes(b"\x93NUMPY"),
    "a missing file": lambda folder: (folder / "number.npy").unlink(),
    "no manifest": lambda folder: (folder / "manifest.json").unlink(),
    "an empty manifest": lambda folder: (folder / "manifest.json").write_text(""),
    "a list as manifest": lambda folder: (folder / "manifest.json").write_text("[]"),
    "deep brackets": lambda folder: (folder / "manifest.json").write_text("[" * 100_000),
    "another key": lambda folder: altered(folder / "manifest.json", {"key": "0" * 16}),
    "no files": lambda folder: altered(folder / "manifest.json", {"files": None}),
    "a file above": lambda folder: altered(
        folder / "manifest.json", {"files": {"../x": {"bytes": 1, "sha256": "0" * 64}}}
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_result_is_computed_anew_and_named_in_the_log(store, log, damage, caplog) -> None:
    caplog.set_level("INFO")
    artifact = store.get(Source(3, str(log)), {})
    DAMAGES[damage](artifact.path)
    with pytest.raises(ArtifactError, match=artifact.key):
        store.open("source", artifact.key)
    again = store.get(Source(3, str(log)), {})
    assert again.array("number") == 3
    assert log.read_text() == "source\nsource\n"
    assert [line for line in caplog.messages if "damaged, computed anew: " in line and artifact.key in line]
    assert {file.name for file in artifact.path.parent.iterdir()} - {f".{artifact.key}.lock"} == {artifact.key}


def test_a_result_stays_where_making_it_anew_fails(store) -> None:
    artifact = store.get(Source(), {})
    flip(artifact.path / "number.npy")
    content = (artifact.path / "number.npy").read_bytes()
    with pytest.raises(KeyboardInterrupt):
        store._make(Broken(), {}, artifact.key)
    assert (artifact.path / "number.npy").read_bytes() == content


def test_without_verify_sizes_alone_count(tmp_path, log) -> None:
    artifact = Store(tmp_path).get(Source(3, str(log)), {})
    flip(artifact.path / "number.npy")
    Store(tmp_path, verify=False).get(Source(3, str(log)), {})
    assert log.read_text() == "source\n"
    (artifact.path / "number.npy").write_bytes(b"")
    with pytest.raises(ArtifactError, match=r"number\.npy has 0 bytes, and its manifest"):
        Artifact.at(artifact.path)


def test_a_damaged_header_or_footer_is_a_sentence(tmp_path) -> None:
    (tmp_path / "x.npy").write_bytes(b"\x93NUMPY\x01\x00v\x00{'descr': 7")
    (tmp_path / "x.parquet").write_bytes(b"PAR1" * 9)
    artifact = Artifact("key", tmp_path, {})
    for read in (artifact.array, artifact.frame, artifact.height):
        with pytest.raises(ArtifactError, match=r"x\.\w+ is damaged .*run again to rebuild it"):
            read("x")


class Printed:
    def __init__(self, content: str) -> None:
        self.content = content

    def fingerprint(self) -> dict[str, str]:
        return {"content": self.content}


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        pytest.param(Source(2, log="x"), {"class": "Source", "value": 2}, id="fields that matter"),
        pytest.param(Printed("x"), {"class": "Printed", "content": "x"}, id="fingerprint"),
        pytest.param((1, [2.5, None]), [1, [2.5, None]], id="nested"),
        pytest.param({1: "a"}, {"1": "a"}, id="mapping"),
    ],
)
def test_identity_is_plain(value, wanted) -> None:
    assert identity(value) == wanted


def test_what_cannot_be_hashed_is_refused() -> None:
    with pytest.raises(TypeError, match=r"cannot hash a \w*Path .*give it fingerprint\(\)"):
        identity(Path("x"))


def test_brackets_in_a_path_are_no_pattern(tmp_path: Path) -> None:
    for folder, value in (("a1", 1), ("a[1]", 2)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "manifest.json").write_text('{"key": "k"}')
        pl.DataFrame({"x": [value] * value}).write_parquet(tmp_path / folder / "items.parquet")
    artifact = Artifact("k", tmp_path / "a[1]", {"key": "k"})
    assert artifact.frame("items")["x"].to_list() == [2, 2]
    assert artifact.height("items") == 2
