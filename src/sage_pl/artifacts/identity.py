"""What decides a result: the settings that can change it, and their canonical description."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from functools import partial
from typing import Any

_INDIFFERENT = (
    "accelerator",
    "devices",
    "default_root_dir",
    "enable_model_summary",
    "enable_progress_bar",
    "eval_batch_size",
    "fused",
    "log_every_n_steps",
    "logger",
    r"neighbours\.ratio",
    "num_sanity_val_steps",
    "num_workers",
    "profiler",
    "table_mb",
    "use_distributed_sampler",
)
_LAST = re.compile(rf"(^|\.)({'|'.join(_INDIFFERENT)})$")


def decides(key: str) -> bool:
    """Whether a setting, by its dotted key, can change what is learned.

    >>> decides("data.batch_size"), decides("data.eval_batch_size")
    (True, False)
    """
    return not _LAST.search(key)


def identity(value: Any) -> Any:
    """A plain, JSON-ready description of all that can change a step's result."""
    if hasattr(value, "fingerprint"):
        return {"class": type(value).__qualname__, **value.fingerprint()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {"class": type(value).__qualname__, **settings(value)}
    if isinstance(value, partial):
        return {"class": value.func.__qualname__, **{k: identity(v) for k, v in value.keywords.items() if decides(k)}}
    if isinstance(value, Mapping):
        return {str(k): identity(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [identity(v) for v in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise TypeError(f"cannot hash a {type(value).__name__} into an artifact key: {value!r}; give it fingerprint()")


def settings(value: Any) -> dict[str, Any]:
    """The fields of a dataclass that can change a result, each as its identity."""
    return {f.name: identity(getattr(value, f.name)) for f in dataclasses.fields(value) if f.compare}
