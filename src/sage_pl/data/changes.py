"""Whether the files of a source are those that a ``sequences`` artifact was made of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sage_pl.artifacts.files import file_digest, write_text
from sage_pl.artifacts.identity import value_at
from sage_pl.artifacts.store import Artifact
from sage_pl.data.sources.raw import InputFile, Source

FILE = "source.json"


def files_of(source: Source) -> Mapping[str, InputFile]:
    """The files of a source; none for a class of another package that names none.

    Raises:
        MissingFileError: the package that holds them is not installed.
    """
    return source.files() if hasattr(source, "files") else {}


def states_of(source: Source) -> dict[str, list[int]]:
    """Size in bytes and time of change in ns of each file that is present, by its name in the fingerprint."""
    return {name: _state(file.path) for name, file in files_of(source).items() if file.path.is_file()}


def write_states(folder: Path, states: Mapping[str, list[int]]) -> None:
    """Keep :func:`states_of` in the folder of an artifact."""
    write_text(folder / FILE, json.dumps(states))


def changed_files(source: Source, sequences: Artifact) -> list[Path]:
    """The present files of a source whose content is another than the artifact was made of.

    A file whose size and time of change are recorded with the artifact counts as equal; any other is hashed, 0.5 s per GB.

    Args:
        source: of the data.
        sequences: made by :class:`sage_pl.data.interactions.Interactions`.

    Raises:
        MissingFileError: the package that holds the files is not installed.
    """
    record = sequences.path / FILE
    states: dict[str, list[int]] = json.loads(record.read_text()) if record.is_file() else {}
    digests: Any = value_at(sequences.manifest, "params.source") or {}
    present = {name: file.path for name, file in files_of(source).items() if file.path.is_file()}
    return [
        path
        for name, path in present.items()
        if states.get(name) != _state(path) and digests.get(name) != file_digest(path)
    ]


def _state(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]
