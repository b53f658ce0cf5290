"""Open a run, a checkpoint or an exported folder."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sage_pl import serving
from sage_pl.api.hub import SCHEME, fetch
from sage_pl.api.model import Model
from sage_pl.api.sources import FolderSource, RunSource
from sage_pl.errors import MissingFileError
from sage_pl.runs.folders import CHECKPOINTS
from sage_pl.serving.retrieval import index_of

_CHECKPOINTS = ("refit.ckpt", "best.ckpt")  # a refit is for serving


def load(
    path: str | Path,
    *,
    overrides: Mapping[str, Any] | None = None,
    artifacts: str | Path = "outputs/artifacts",
    allow_host: Sequence[str] = (),
    retrieval: str | None = None,
) -> Model:
    """Open a trained model.

    Args:
        path: folder of a run, a checkpoint, a folder of ``scripts/export.py`` or :meth:`Model.save`, or ``hf://OWNER/NAME``
            for a model of the hub, which is downloaded.
        overrides: changes to the configuration of a run, by dotted key, such as ``{"evaluation.seen": "mask"}``.
        artifacts: where missing artifacts of a run are made; its own cache is read alone.
        allow_host: hosts that it may contact, such as ``huggingface.co`` for a language model that it names.
        retrieval: ``exact`` scores every item; ``hnsw`` and ``ivf`` find some by an index (docs/serving.md). None: as the
            folder was exported, ``exact`` for a run.

    Raises:
        MissingFileError: nothing of the kind is there.
        ConfigError, ArtifactError: it cannot be used.

    >>> model = load(run_folder)
    >>> len(model.recommend(users=["u1", "u2"], k=3))
    6
    """
    if not isinstance(path, str | os.PathLike):
        raise MissingFileError(f"path is {path!r}, wanted the path of a run, a checkpoint or an exported folder")
    place = fetch(path) if isinstance(path, str) and path.startswith(SCHEME) else Path(path)
    if (place / "model.json").is_file():
        return Model(serving.load(place, allow_host, retrieval), FolderSource(place))
    candidates = [place, *(place / CHECKPOINTS / name for name in _CHECKPOINTS)]
    file = next((one for one in candidates if one.is_file()), None)
    if file is None:
        raise MissingFileError(
            f"{place} is no checkpoint, no finished run (checkpoints/best.ckpt) and no exported folder (model.json); runs "
            "are in outputs/runs/, and sage_pl.fit(...) or scripts/export.py make one"
        )
    source = RunSource.open(file, overrides or {}, artifacts, allow_host)
    served = source.served()
    served.model.retrieval = index_of(served.model, retrieval or "exact")
    return Model(served, source)
