"""Which settings decide what a run learns, and which only say where, how fast or how loudly."""

from __future__ import annotations

import re

_INDIFFERENT = (
    "accelerator",
    "devices",
    "default_root_dir",
    "enable_model_summary",
    "enable_progress_bar",
    "eval_batch_size",
    "fused",
    "log_every_n_steps",
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
