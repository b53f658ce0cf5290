"""A trained model as a folder that needs nothing else: item tables, the sequence encoder's weights, and how to build it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from sage_pl.config import ConfigError, check_targets
from sage_pl.item_encoders.cached import CachedItems, write_tables
from sage_pl.models.sequential import SequentialRecommender

_BUILT = ("sequence_encoder", "targets")


def save(model: SequentialRecommender, config: DictConfig, folder: str | Path) -> None:
    """Write ``items/<view>.npy``, ``weights.pt`` and ``model.json``; the folder is complete or absent.

    Args:
        model: trained, in the state to serve.
        config: what it was built from.
        folder: must not exist.

    Raises:
        ConfigError: the folder exists, or the model ranks with a scorer, which needs the text vectors.
    """
    final = Path(folder)
    if final.exists():
        raise ConfigError(f"{final} exists already; choose another folder=DIR or remove it")
    if model.scorer is not None:
        raise ConfigError("a scorer needs the text vectors when serving; export without it: +overrides.scorer=null")
    work = final.with_name(f".{final.name}.{os.getpid()}.tmp")
    (work / "items").mkdir(parents=True)
    try:
        write_tables(model.item_encoder, sorted(model.sequence_encoder.reads), work / "items", model.device)
        own = ("sequence_encoder.",)
        torch.save({k: v.cpu() for k, v in model.state_dict().items() if k.startswith(own)}, work / "weights.pt")
        nodes = {name: OmegaConf.to_container(config[name], resolve=True) for name in _BUILT}
        (work / "model.json").write_text(json.dumps({**nodes, "max_len": model.max_len}, indent=2))
        os.replace(work, final)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise


def load(folder: str | Path) -> SequentialRecommender:
    """The model of a folder that :func:`save` wrote, ready for ``recommend(items, k)``.

    Raises:
        FileNotFoundError: the folder is not such a one.
        ConfigError: it names a class that is not allowed.
    """
    place = Path(folder)
    if not (place / "model.json").is_file():
        raise FileNotFoundError(
            f"{place} has no model.json; write it with scripts/export.py checkpoint=FILE folder=DIR"
        )
    nodes: dict[str, Any] = json.loads((place / "model.json").read_text())
    check_targets({name: nodes[name] for name in _BUILT})
    parts = {name: instantiate(nodes[name], _convert_="all") for name in _BUILT}
    model = SequentialRecommender(CachedItems(place / "items"), **parts, max_len=nodes["max_len"])
    model.load_state_dict(torch.load(place / "weights.pt", map_location="cpu", weights_only=True))
    return model.eval()
