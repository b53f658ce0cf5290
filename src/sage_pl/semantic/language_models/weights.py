"""What a text model is, wherever it lies: the bytes of its weight files."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from sage_pl.artifacts.files import file_digest
from sage_pl.artifacts.identity import settings

KINDS = (".safetensors", ".bin", ".gguf")


def weights_in(folder: str) -> dict[str, str]:
    """sha256 of every weight file below a folder, by its name there; nothing for a name on the hub, which is no folder."""
    files = sorted(file for file in Path(folder).rglob("*") if file.suffix in KINDS)
    return {
        str(file.relative_to(folder)): _digest(file, file.stat().st_size, file.stat().st_mtime_ns) for file in files
    }


@functools.cache
def _digest(file: Path, size: int, modified: int) -> str:
    """sha256 of a file, which a process asks for at every key it computes; read again only if the file has changed."""
    return file_digest(file)


def settings_of(step: Any) -> dict[str, Any]:
    """What stands for a step in an artifact key: its settings. A model in a folder is its weights there, so that it may move,
    and is another one when they change; any other is its name."""
    own = settings(step)
    weights = weights_in(own["model"]) if own["model"] else {}
    return {**own, "model": weights} if weights else own
