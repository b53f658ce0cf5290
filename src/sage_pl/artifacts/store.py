"""Content-addressed results: a step's output is a folder named by the hash of everything that decides it.

A step is a frozen dataclass with ``name``, ``version``, ``inputs`` (names of the steps it reads) and ``run``. Its
identity is its class, its fields and its parents' keys, without fields declared ``field(compare=False)`` (batch sizes,
paths, devices). An object with a ``fingerprint()`` method is identified by it (a data source hashes its files).

A result is written to a temporary folder, then renamed (:func:`whole_folder`), so a crash leaves no partial result. A lock
makes one of several processes do the work while the others wait.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import importlib.metadata
import json
import logging
import shutil
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import polars as pl

from sage_pl.artifacts.files import file_digest, unfinished, whole_folder
from sage_pl.artifacts.identity import identity
from sage_pl.artifacts.locks import locked
from sage_pl.errors import UserError

log = logging.getLogger(__name__)


class ArtifactError(UserError, RuntimeError):
    """An artifact is absent or damaged, or the steps cannot produce it."""


@dataclasses.dataclass(frozen=True)
class Artifact:
    """A finished result: ``key`` is the hash of everything that decides it, ``path`` its folder."""

    key: str
    path: Path
    manifest: Mapping[str, Any]

    @classmethod
    def at(cls, path: str | Path) -> Artifact:
        """Open the finished result in the folder ``path``; ArtifactError if there is none."""
        manifest = Path(path) / "manifest.json"
        if not manifest.is_file():
            raise ArtifactError(f"{path} is not a finished artifact (no manifest.json); run scripts/prepare.py")
        content = json.loads(manifest.read_text())
        return cls(content["key"], Path(path), content)

    def array(self, name: str) -> np.ndarray:
        """The array ``<name>.npy``, memory-mapped read-only."""
        return np.asarray(np.load(self._file(f"{name}.npy"), mmap_mode="r", allow_pickle=False))

    def frame(self, name: str) -> pl.DataFrame:
        """The table ``<name>.parquet``."""
        return pl.read_parquet(self._file(f"{name}.parquet"))

    def height(self, name: str) -> int:
        """Rows of the table ``<name>.parquet``, without reading it."""
        return pl.scan_parquet(self._file(f"{name}.parquet")).select(pl.len()).collect().item()

    def _file(self, name: str) -> Path:
        file = self.path / name
        if not file.is_file():
            raise ArtifactError(f"{self.path} has no file {name}; delete that folder and run again to rebuild it")
        return file


@runtime_checkable
class Step(Protocol):
    """One cached piece of work. ``version`` increases when the code changes its results."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> int: ...

    @property
    def inputs(self) -> tuple[str, ...]: ...

    @property
    def libraries(self) -> tuple[str, ...]:
        """Packages whose version can change the result."""
        ...

    def run(self, inputs: Mapping[str, Artifact], out: Path) -> None: ...


def _versions(step: Step) -> dict[str, str]:
    try:
        return {name: importlib.metadata.version(name) for name in step.libraries}
    except importlib.metadata.PackageNotFoundError as error:
        text = f"the step {step.name} needs the package {error.name}: pip install 'sage-pl[semantic]'"
        raise ArtifactError(text) from error


class Store:
    """Artifacts under ``root``, computed on demand.

    Args:
        root: folder of the cache; ``<root>/<step>/<key>/`` holds one result.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def key(self, step: Step, parents: Mapping[str, Artifact]) -> str:
        """Hash of the step's name, version, fields, libraries and its parents' keys."""
        description = self._description(step, parents)
        return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()[:16]

    def get(self, step: Step, parents: Mapping[str, Artifact]) -> Artifact:
        """The finished result, computed if it is absent."""
        key = self.key(step, parents)
        left = unfinished(self.root / step.name / key)  # beside a finished result: of a process killed after the rename
        if not left.is_dir() and (artifact := self._open(step.name, key)):
            log.info("%-10s %s  cached", step.name, key)
            return artifact
        with locked(self.root / step.name / f".{key}.lock", f"{step.name:<10} {key}"):
            artifact = self._open(step.name, key) or self._make(step, parents, key)
            shutil.rmtree(left, ignore_errors=True)
            return artifact

    def _open(self, name: str, key: str) -> Artifact | None:
        path = self.root / name / key
        return Artifact.at(path) if (path / "manifest.json").is_file() else None

    def _make(self, step: Step, parents: Mapping[str, Artifact], key: str) -> Artifact:
        final = self.root / step.name / key
        for remnant in final.parent.glob(f".{key}.*.tmp"):  # of a killed process, since this one holds the lock
            shutil.rmtree(remnant, ignore_errors=True)
        log.info("%-10s %s  running", step.name, key)
        start = time.perf_counter()
        with whole_folder(final) as work:
            step.run({name: parents[name] for name in step.inputs}, work)
            seconds = time.perf_counter() - start
            manifest = {
                "key": key,
                **self._description(step, parents),
                "files": {
                    p.name: {"sha256": file_digest(p), "bytes": p.stat().st_size} for p in sorted(work.iterdir())
                },
                "seconds": round(seconds, 2),
                "made": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            }
            (work / "manifest.json").write_text(json.dumps(manifest, indent=2, sort_keys=True))
        log.info("%-10s %s  done in %.1f s", step.name, key, seconds)
        return Artifact(key, final, manifest)

    def _description(self, step: Step, parents: Mapping[str, Artifact]) -> dict[str, Any]:
        return {
            "step": step.name,
            "version": step.version,
            "params": identity(step),
            "parents": {name: parents[name].key for name in step.inputs},
            "libraries": _versions(step),
        }


def closure(inputs: Mapping[str, Iterable[str]], names: Iterable[str]) -> list[str]:
    """Some steps and all that they depend on, parents first.

    Args:
        inputs: for every step, the names of those it reads.
        names: the steps whose results are needed.

    Raises:
        ArtifactError: a name is unknown or the steps depend on each other in a circle.
    """
    order: list[str] = []

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in order:
            return
        if name in path:
            raise ArtifactError(f"steps depend on each other in a circle: {' -> '.join((*path, name))}")
        if name not in inputs:
            child = f" (an input of {path[-1]})" if path else ""
            raise ArtifactError(f"no step is called {name!r}{child}; known steps: {', '.join(inputs)}")
        for parent in inputs[name]:
            visit(parent, (*path, name))
        order.append(name)

    for name in names:
        visit(name, ())
    return order


def build(steps: Mapping[str, Step], names: Iterable[str], store: Store) -> dict[str, Artifact]:
    """Results of some steps and of all that they depend on, each computed once, parents first.

    Args:
        steps: every step that may be needed, by name.
        names: the steps whose results are needed.
        store: the cache.

    Raises:
        ArtifactError: a name is unknown or the steps depend on each other in a circle.
    """
    artifacts: dict[str, Artifact] = {}
    for name in closure({name: step.inputs for name, step in steps.items()}, names):
        artifacts[name] = store.get(steps[name], artifacts)
    return artifacts
