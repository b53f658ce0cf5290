"""Where a stored configuration would write: into the run's folder alone, and to no record elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hydra.utils import get_object
from omegaconf import DictConfig
from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger

from sage_pl.artifacts.identity import value_at
from sage_pl.runs import checks
from sage_pl.runs.plan import resolve_with_placeholders
from sage_pl.training.loggers.metrics_table import MetricsTable
from sage_pl.training.loggers.wandb_run import WandbRun

_WRITTEN_TO = frozenset({"default_root_dir", "dir", "dirpath", "folder", "log_dir", "root_dir", "run_dir", "save_dir"})
_WRITERS = ("callbacks", "logger", "trainer")  # any of their texts may be a place
_LOGGERS = (
    CSVLogger,
    MetricsTable,
    TensorBoardLogger,
    WandbRun,
)  # they write into a folder, or ask whether a host is allowed


def foreign_places(config: DictConfig, own: Mapping[str, Any] | None = None) -> list[str]:
    """A line for every place outside the run's folder that callbacks, loggers, trainers or steps would write to.

    A logger of another kind is one too: some send all that they log from a process of their own.

    Args:
        config: of a plan that was stored.
        own: what the command line composes; a value that is the same there is the user's.
    """
    folder, lines = os.path.abspath(config.run_dir), []
    plain = resolve_with_placeholders(config, [part for part in (*_WRITERS, "steps") if part in config])
    for key, text in _texts(plain, ""):
        if not _is_place(key, text) or text == config.get("resume"):
            continue
        inside = "://" not in text and os.path.commonpath([folder, os.path.abspath(text)]) == folder
        if not inside and (own is None or value_at(own, key) != text):
            lines.append(
                f"{key} is {text!r}, outside the run's folder {folder}, and a stored configuration writes nowhere else; set "
                f"{key}=PLACE on the command line if you want it"
            )
    for key, node in checks.nodes(plain):
        part, choice = get_object(node["_target_"]), f"{key}._target_"
        other = isinstance(part, type) and issubclass(part, Logger) and part not in _LOGGERS
        if other and (own is None or value_at(own, choice) != node["_target_"]):
            lines.append(
                f"{key} is a {part.__name__}, which may send what it logs to a host, and a stored configuration contacts none "
                f"by itself; set it on the command line if you want it, or leave it out: ~{key}"
            )
    return lines


def _is_place(key: str, text: str) -> bool:
    section, *_, name = key.split(".")
    named = name.split("[")[0] in _WRITTEN_TO
    leads_out = "://" in text or Path(text).is_absolute() or ".." in Path(text).parts
    return bool(text) and (named or (leads_out and section in _WRITERS))


def _texts(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Every text with its dotted key."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _texts(part, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from _texts(part, f"{path}[{index}]")
    elif isinstance(value, str):
        yield path, value
