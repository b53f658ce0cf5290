"""The identity of a text model: the hashes of its weight files."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from sage_pl.artifacts.files import file_digest
from sage_pl.artifacts.identity import settings

KINDS = (".safetensors", ".bin", ".gguf")


def weights_in(folder: str) -> dict[str, str]:
    """sha256 of every weight file below a folder, by relative path; empty for a name on the hub."""
    files = sorted(file for file in Path(folder).rglob("*") if file.suffix in KINDS)
    return {
        str(file.relative_to(folder)): _digest(file, file.stat().st_size, file.stat().st_mtime_ns) for file in files
    }


@functools.cache
def _digest(file: Path, size: int, modified: int) -> str:
    """sha256 of a file, cached until its size or time changes: every artifact key needs it."""
    return file_digest(file)


def settings_of(step: Any) -> dict[str, Any]:
    """The settings of a step for an artifact key. A model in a folder enters by the hashes of its weights, so that the key
    survives a move of the folder and changes with the weights; any other model enters by its name."""
    values = settings(step)
    weights = weights_in(values["model"]) if values["model"] else {}
    return {**values, "model": weights} if weights else values
