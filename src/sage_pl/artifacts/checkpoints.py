"""Lightning's checkpoints as files: written whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO

from sage_pl.artifacts.files import whole_file
from sage_pl.artifacts.weights import read_weights, write_weights


class WholeCheckpoints(TorchCheckpointIO):
    """Lightning's checkpoints by :func:`whole_file` and :func:`sage_pl.artifacts.weights.read_weights`.

    Lightning's own writer passes through TMPDIR; where that is another file system, a kill or a full disk leaves half a file.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        with whole_file(path) as part:
            write_weights(checkpoint, part)

    def load_checkpoint(
        self, path: str | Path, map_location: Callable | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        return read_weights(path, map_location or "cpu")
