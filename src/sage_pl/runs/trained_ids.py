"""The ids in a checkpoint: compressed text in a tensor of bytes, so that their number counts for no limit on plain values."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from typing import Any

import torch

from sage_pl.artifacts.store import Artifact
from sage_pl.data.mapped import Ids
from sage_pl.runs.checks import ConfigError

_LARGEST = 1 << 30  # bytes of one list of ids


def carried(
    recipe: Mapping[str, Any], artifacts: Mapping[str, Artifact], begun_with: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What a checkpoint carries beside its weights.

    Args:
        recipe: of the run.
        artifacts: that it is trained with, by name.
        begun_with: the recipe of its first part; None where that is the same.
    """
    ids = Ids.of(artifacts["sequences"])
    return {
        "config": recipe,
        "begun_with": recipe if begun_with is None else begun_with,
        "artifact_keys": {name: artifact.key for name, artifact in artifacts.items()},
        "ids": {name: _packed(getattr(ids, name)) for name in ("items", "users")},
    }


def read_ids(value: Any) -> Ids | None:
    """The ids that :func:`carried` packed; None for a checkpoint of an earlier version, which has none.

    Raises:
        ConfigError: they are of another kind, or too large.
    """
    if value is None:
        return None
    if not isinstance(value, dict) or sorted(value) != ["items", "users"]:
        raise ConfigError("its ids are no ids of items and users")
    return Ids(_unpacked(value["items"]), _unpacked(value["users"]))


def _packed(ids: list[str]) -> torch.Tensor:
    return torch.frombuffer(bytearray(zlib.compress(json.dumps(ids).encode())), dtype=torch.uint8)


def _unpacked(packed: Any) -> list[str]:
    if not isinstance(packed, torch.Tensor) or packed.dtype != torch.uint8 or packed.ndim != 1:
        raise ConfigError(f"its ids are a {type(packed).__name__}, wanted a tensor of bytes")
    reader = zlib.decompressobj()
    try:
        text = reader.decompress(packed.numpy().tobytes(), _LARGEST)
        ids = json.loads(text) if reader.eof else None
    except (zlib.error, ValueError, RecursionError) as error:
        raise ConfigError(f"its ids are damaged ({type(error).__name__})") from error
    if not isinstance(ids, list) or not all(isinstance(one, str) for one in ids):
        raise ConfigError("its ids are no list of texts")
    return ids
