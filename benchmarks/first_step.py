"""A callback for benchmarks/processes.py: the loss of a run's first step, of all processes together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from sage_pl import processes


class FirstStep(pl.Callback):
    """Writes ``first_step.json`` into ``folder``: each loss term of the first step.

    Args:
        folder: of the run, or of a stage.
    """

    def __init__(self, folder: str) -> None:
        self.file = Path(folder) / "first_step.json"

    def on_before_backward(self, trainer: pl.Trainer, pl_module: Any, loss: Any) -> None:
        if trainer.global_step > 0:
            return
        losses = {name: processes.mean(value.detach()).item() for name, value in pl_module.weighted_losses.items()}
        if processes.rank() == 0:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            self.file.write_text(json.dumps(losses))
