"""Resources of a run: peak memory, parameters, device and versions of libraries."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytorch_lightning as pl
import torch

from sage_pl.artifacts.files import write_text
from sage_pl.nn.item_encoders.sharded import shards_of

_LIBRARIES = ("torch", "pytorch-lightning", "hydra-core", "numpy", "polars", "sage-pl")


class Footprint(pl.Callback):
    """Writes ``footprint.json`` into ``folder`` when training ends, also by an error.

    ``memory`` in bytes: ``process`` is the peak resident set since the start of the process (null on Windows),
    ``accelerator`` the allocator's peak in training (null on a CPU). ``parameters`` counts trainable numbers, ``constants``
    those of buffers such as text vectors, by part of the model. A version is null for a package that is not installed.

    Args:
        folder: created if absent.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if pl_module.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(pl_module.device)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage != "fit" or not trainer.is_global_zero:
            return
        device = trainer.strategy.root_device
        on_cuda = device.type == "cuda"
        record = {
            "device": torch.cuda.get_device_name(device) if on_cuda else f"{device}, {torch.get_num_threads()} threads",
            "memory": {
                "process": _peak_resident(),
                "accelerator": torch.cuda.max_memory_allocated(device) if on_cuda else None,
            },
            "parameters": _with_shards(
                pl_module, _sizes(pl_module, lambda m: (p for p in m.parameters() if p.requires_grad))
            ),
            "constants": _sizes(pl_module, lambda m: m.buffers()),
            "versions": {"python": platform.python_version()} | {name: _version(name) for name in _LIBRARIES},
        }
        write_text(self.folder / "footprint.json", json.dumps(record, indent=2) + "\n")


def _sizes(module: pl.LightningModule, tensors: Callable[[torch.nn.Module], Iterable[torch.Tensor]]) -> dict[str, int]:
    sizes = {name: sum(t.numel() for t in tensors(part)) for name, part in module.named_children()}
    return {name: size for name, size in sizes.items() if size}


def _with_shards(module: pl.LightningModule, sizes: dict[str, int]) -> dict[str, int]:
    """With the rows that other processes hold."""
    for name, table in shards_of(module).items():
        sizes[name.split(".")[0]] += table.elsewhere
    return sizes


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:  # must not fail a finished run
        return None


def _peak_resident() -> int | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
