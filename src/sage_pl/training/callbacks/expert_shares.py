"""How much of the items' scores each expert of a gate decides."""

from __future__ import annotations

import logging
from typing import Any

import pytorch_lightning as pl
import torch

from sage_pl.nn.item_encoders.encoded import view_vectors
from sage_pl.nn.item_encoders.gated import GATE

log = logging.getLogger(__name__)

LOW = 0.01


class ExpertShares(pl.Callback):
    """Logs ``val/share/<expert>``, an expert's mean share over the items; one under 1 % gets one line.

    Nothing is logged of items without a gate (:class:`sage_pl.nn.item_encoders.gated.GatedExperts`), and nothing in Lightning's
    sanity check.
    """

    def __init__(self) -> None:
        self._reported: set[str] = set()

    @torch.no_grad()
    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        encoder: Any = pl_module.item_encoder
        if trainer.sanity_checking or GATE not in encoder.input_dims:
            return
        shares = view_vectors(encoder, GATE, pl_module.device)[1:-1].mean(0)
        gated = getattr(encoder, "encoder", encoder)  # the one that model=cosine wraps
        for name, share in zip(gated.names, shares, strict=True):
            pl_module.log(f"val/share/{name}", share, sync_dist=True)
            if share < LOW and name not in self._reported:
                self._reported.add(name)
                log.warning(
                    "the expert %s has %.2g %% of the items' scores, so it is hardly heard; see item_encoder.gate.starts",
                    *(name, 100 * share.item()),
                )
