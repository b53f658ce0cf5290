"""Content-addressed results: a step's output is a folder named by the hash of everything that decides it.

A step is a frozen dataclass with ``name``, ``version``, ``inputs`` (names of the steps it reads) and ``run``. Its
identity is its class, its fields and its parents' keys, without fields declared ``field(compare=False)`` (batch sizes,
paths, devices). An object with a ``fingerprint()`` method is identified by it (a data source hashes its files).

A result is written to a temporary folder, then renamed (:func:`whole_folder`), so a crash leaves no partial result. A lock
makes one of several processes do the work while the others wait; those that train together ask through rank 0. The
manifest holds every file's size and hash; a result that differs from them is computed anew.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import importlib.metadata
import json
import logging
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import polars as pl

from sage_pl import processes
from sage_pl.artifacts.files import MANIFEST, ArtifactError, damage_in, records_of, remove, unfinished, whole_folder
from sage_pl.artifacts.identity import identity
from sage_pl.artifacts.locks import locked

log = logging.getLogger(__name__)
QUICK = 1.0  # seconds of a step, below which its end is no line of its own
_TAKE_PART = "take part"


@dataclasses.dataclass(frozen=True)
class Artifact:
    """A finished result: ``key`` is the hash of everything that decides it, ``path`` its folder."""

    key: str
    path: Path
    manifest: Mapping[str, Any]

    @classmethod
    def at(cls, path: str | Path, verify: bool = False) -> Artifact:
        """Open the finished result in the folder ``path``.

        Args:
            path: of the folder.
            verify: compare the files' hashes too, once per process (0.5 s per GB); their sizes are always compared.

        Raises:
            ArtifactError: there is none, or a file is missing, cut or changed.
        """
        folder = Path(path)
        if not (folder / MANIFEST).is_file():
            raise ArtifactError(f"{path} is not a finished artifact (no {MANIFEST}); run scripts/prepare.py")
        manifest = _manifest(folder)
        if problem := damage_in(folder, manifest.get("files", None if verify else {}), verify):
            raise ArtifactError(f"{problem}; run scripts/prepare.py, or the command that made it, to make it again")
        return cls(manifest["key"], folder, manifest)

    def array(self, name: str) -> np.ndarray:
        """The array ``<name>.npy``, memory-mapped read-only."""
        file = self._file(f"{name}.npy")
        try:
            return np.asarray(np.load(file, mmap_mode="r", allow_pickle=False))
        except (ValueError, EOFError) as error:
            raise ArtifactError(
                f"{file} is damaged ({error}); delete {self.path} and run again to rebuild it"
            ) from error

    def frame(self, name: str) -> pl.DataFrame:
        """The table ``<name>.parquet``."""
        return self._collected(f"{name}.parquet", pl.all())

    def height(self, name: str) -> int:
        """Rows of the table ``<name>.parquet``, without reading it."""
        return self._collected(f"{name}.parquet", pl.len()).item()

    def _file(self, name: str) -> Path:
        file = self.path / name
        if not file.is_file():
            raise ArtifactError(f"{self.path} has no file {name}; delete that folder and run again to rebuild it")
        return file

    def _collected(self, name: str, columns: pl.Expr) -> pl.DataFrame:
        file = self._file(name)
        try:
            return pl.scan_parquet(file, glob=False).select(columns).collect()
        except pl.exceptions.PolarsError as error:
            raise ArtifactError(
                f"{file} is damaged ({error}); delete {self.path} and run again to rebuild it"
            ) from error


def _manifest(folder: Path) -> dict[str, Any]:
    """The content of ``manifest.json``.

    Raises:
        ArtifactError: it is cut, or of another form.
    """
    file = folder / MANIFEST
    try:
        content = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{file} is damaged ({error}); run scripts/prepare.py to make {folder} again") from error
    if not isinstance(content, dict) or not isinstance(content.get("key"), str):
        raise ArtifactError(f"{file} is damaged (it has no key); run scripts/prepare.py to make {folder} again")
    return content


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
        verify: compare the hashes of a result's files, and not only their sizes, before it is used.
        also: caches that are read and never written to.
        hidden: text -> what stands for it in manifests.
    """

    def __init__(
        self,
        root: str | Path,
        verify: bool = True,
        also: Iterable[str | Path] = (),
        hidden: Mapping[str, str] | None = None,
    ) -> None:
        self.root = Path(root)
        self.verify = verify
        self.places = (self.root, *map(Path, also))
        self.hidden = hidden or {}

    def key(self, step: Step, parents: Mapping[str, Artifact]) -> str:
        """Hash of the step's name, version, fields, libraries and its parents' keys."""
        description = self._description(step, parents)
        return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()[:16]

    def get(self, step: Step, parents: Mapping[str, Artifact]) -> Artifact:
        """The finished result, computed if it is absent or damaged.

        Of processes that train together (:mod:`sage_pl.processes`) rank 0 computes it. The others wait, and take part where the
        step is ``joint``.
        """
        key = self.key(step, parents)
        if processes.rank() == 0:
            artifact = self._get(step, parents, key)
            processes.agreed(None)
            return artifact
        if processes.agreed(None) == _TAKE_PART:
            step.run({name: parents[name] for name in step.inputs}, self.root / step.name / key)
            processes.agreed(None)
        finished = self.open(step.name, key)
        assert finished is not None
        return finished

    def _get(self, step: Step, parents: Mapping[str, Artifact], key: str) -> Artifact:
        left = unfinished(self.root / step.name / key)  # beside a finished result: of a process killed after the rename
        with suppress(ArtifactError):  # examined again, and announced, below the lock
            if not left.is_dir() and (artifact := self.open(step.name, key)):
                log.info("%-10s %s  cached", step.name, key)
                return artifact
        with locked(self.root / step.name / f".{key}.lock", f"{step.name:<10} {key}"):
            artifact = self._whole(step.name, key) or self._make(step, parents, key)
            remove(left)
            return artifact

    def _whole(self, name: str, key: str) -> Artifact | None:
        """:meth:`open`; None for a damaged one too, which is announced."""
        try:
            return self.open(name, key)
        except ArtifactError as damage:
            log.warning("%-10s %s  damaged, computed anew: %s", name, key, str(damage).partition(";")[0])
            return None

    def open(self, name: str, key: str) -> Artifact | None:
        """The finished result of a step's name and key, in the first cache that has it whole; None if there is none.

        Raises:
            ArtifactError: there are only damaged ones.
        """
        damage: ArtifactError | None = None
        for path in (place / name / key for place in self.places):
            if not path.exists():
                continue
            try:
                artifact = Artifact.at(path, self.verify)
                if artifact.key == key:
                    return artifact
                raise ArtifactError(
                    f"{path} holds the artifact {artifact.key}; run scripts/prepare.py to make {key} again"
                )
            except ArtifactError as error:
                damage = damage or error
        if damage is not None:
            raise damage
        return None

    def _make(self, step: Step, parents: Mapping[str, Artifact], key: str) -> Artifact:
        final = self.root / step.name / key
        for remnant in final.parent.glob(f".{key}.*.tmp"):  # of a killed process, since this one holds the lock
            remove(remnant)
        log.info("%-10s %s  running", step.name, key)
        start = time.perf_counter()
        if getattr(step, "joint", False):
            processes.agreed(_TAKE_PART)
        with whole_folder(final) as work:
            step.run({name: parents[name] for name in step.inputs}, work)
            seconds = time.perf_counter() - start
            manifest = {
                "key": key,
                **_replaced(self._description(step, parents), self.hidden),
                "files": records_of(work),
                "seconds": round(seconds, 2),
                "made": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            }
            (work / MANIFEST).write_text(json.dumps(manifest, indent=2, sort_keys=True))
            _set_aside(final)
        if seconds >= QUICK:
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


def _set_aside(folder: Path) -> None:
    """Remove a damaged result; readers that mapped its files keep them, and a remnant is removed by the next start."""
    if folder.exists():
        old = folder.with_name(f".{folder.name}.damaged.tmp")
        remove(old)
        folder.rename(old)
        remove(old)


def _replaced(value: Any, texts: Mapping[str, str]) -> Any:
    """JSON-ready values with other texts."""
    if isinstance(value, Mapping):
        return {key: _replaced(part, texts) for key, part in value.items()}
    if isinstance(value, list):
        return [_replaced(part, texts) for part in value]
    return texts.get(value, value) if isinstance(value, str) else value
