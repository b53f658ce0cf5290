"""Norms of the gradient, of the whole model and of each part."""

from __future__ import annotations

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from sage_pl import processes
from sage_pl.errors import SettingError
from sage_pl.nn.item_encoders.sharded import shards_of
from sage_pl.ranges import Count


class GradientNorms(pl.Callback):
    """Logs ``train/grad_norm`` and, for each part of the module, ``train/grad_norm/<part>``.

    ``||g|| = sqrt(sum of the squared entries)`` of the gradient before clipping; a part is a direct child of the module
    (``item_encoder``, ``sequence_encoder``, ...). Logged is the mean over an epoch's measured steps.

    Args:
        every_n_steps: steps from one measurement to the next, from the first step of every epoch.

    Raises:
        SettingError: ``every_n_steps`` is below 1.
    """

    def __init__(self, every_n_steps: Count = 50) -> None:
        if every_n_steps < 1:
            raise SettingError(f"callbacks.gradient_norms.every_n_steps is {every_n_steps}; wanted at least 1")
        self.every_n_steps = every_n_steps
        self._step = 0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._step = 0

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        if self._step % self.every_n_steps == 0:
            pl_module.log_dict(norms(pl_module), on_step=False, on_epoch=True, batch_size=1, sync_dist=True)
        self._step += 1


def norms(module: torch.nn.Module) -> dict[str, Tensor]:
    """Norms of a module's gradients by their logged names, of a table in shards that of all; empty without gradients."""
    parts: dict[str, list[Tensor]] = {}
    shards = shards_of(module)
    for name, parameter in module.named_parameters():
        if (gradient := parameter.grad) is not None:
            values = gradient.coalesce().values() if gradient.is_sparse else gradient
            values = processes.total(values.square().sum()).sqrt() if name in shards else values
            parts.setdefault(name.split(".")[0], []).append(values)
    by_part = {f"train/grad_norm/{part}": get_total_norm(gradients) for part, gradients in parts.items()}
    return {**by_part, "train/grad_norm": get_total_norm(list(by_part.values()))} if by_part else {}
