"""Collapse of the items' vectors: their effective rank."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from jaxtyping import Float
from torch import Tensor

from sage_pl.nn.item_encoders.encoded import view_vectors, views_beside_output
from sage_pl.types import VectorTable

_BLOCK = 65_536  # items in memory at a time


def spectrum(gram: Float[Tensor, "E E"]) -> dict[str, Float[Tensor, ""]]:
    """Summary of a matrix V by its singular values s, the roots of the eigenvalues of ``V^T V``, with ``p = s / sum s``.

    Args:
        gram: ``V^T V``, see :func:`gram_of_items`.

    Returns:
        ``effective_rank``: ``exp(-sum p log p)``, from 1 (all rows on one line) to E (all directions alike);
        ``largest_share``: the largest p. Both 0 for a matrix of zeros.

    Reference: Roy and Vetterli 2007, "The effective rank".
    """
    values = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt()
    share = values / values.sum().clamp(min=torch.finfo(values.dtype).tiny)
    entropy = torch.special.entr(share).sum()
    return {"effective_rank": entropy.exp() * (values.sum() > 0), "largest_share": share.max()}


def gram_of_items(table: VectorTable) -> Float[Tensor, "E E"]:
    """``V^T V`` of the real items' rows V of a table [R, E], block by block, in float64 where the device has it."""
    none = table[:0]
    exact = none.dtype if none.device.type == "mps" else torch.float64
    total = none.new_zeros(table.shape[1], table.shape[1], dtype=exact)
    last = len(table) - 1
    for start in range(1, last, _BLOCK):
        rows = table[start : min(start + _BLOCK, last)].to(exact)
        total.addmm_(rows.T, rows)
    return total


class Spectrum(pl.Callback):
    """Logs ``val/spectrum/effective_rank`` and ``val/spectrum/largest_share`` of the real items' scored vectors, and both as
    ``val/spectrum/<view>/...`` of every view that is not the scored vector itself.

    So the views that a loss aligns, or the experts that a gate mixes, are measured separately. The module needs an
    ``item_encoder`` and ``output_table()``, every item's vector [R, E]. Costs an eigenvalue problem per table and validation;
    the ranking's cached table is reused, views are encoded again, block by block. Lightning's sanity check is ignored.
    """

    @torch.no_grad()
    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking:
            return
        encoder: Any = pl_module.item_encoder
        tables: dict[str, VectorTable] = {"": pl_module.output_table()}  # type: ignore[operator]
        for view in views_beside_output(encoder, pl_module.device):
            tables[f"{view}/"] = view_vectors(encoder, view, pl_module.device)
        for view, table in tables.items():
            if not table.shape[1]:  # of a floor, whose items have no vectors
                continue
            for name, value in spectrum(gram_of_items(table)).items():
                pl_module.log(f"val/spectrum/{view}{name}", value.float(), sync_dist=True)
