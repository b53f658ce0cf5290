"""Watches for collapse: how many directions the scored item vectors really use."""

from __future__ import annotations

import pytorch_lightning as pl
import torch
from jaxtyping import Float
from torch import Tensor


def spectrum(vectors: Float[Tensor, "M E"]) -> dict[str, Float[Tensor, ""]]:
    """Summary of the singular values s of a matrix, with ``p = s / sum s``.

    Returns:
        ``effective_rank``: ``exp(-sum p log p)``, from 1 (all rows on one line) to E (all directions alike);
        ``largest_share``: the largest p. Both 0 for a matrix of zeros.

    The singular values are roots of the eigenvalues of the [E, E] Gram matrix, in double precision where the device has
    it.

    Reference: Roy and Vetterli 2007, "The effective rank".
    """
    exact = vectors if vectors.device.type == "mps" else vectors.double()
    values = torch.linalg.eigvalsh(exact.T @ exact).clamp(min=0).sqrt()
    share = values / values.sum().clamp(min=torch.finfo(values.dtype).tiny)
    entropy = torch.special.entr(share).sum()
    return {"effective_rank": entropy.exp() * (values.sum() > 0), "largest_share": share.max()}


class Spectrum(pl.Callback):
    """Logs ``val/spectrum/effective_rank`` and ``val/spectrum/largest_share`` of the real items' scored vectors.

    Watches any module with ``output_table()``, every item's vector [R, E]. Costs one encoding of the catalogue and an
    E x E eigenvalue problem per validation. Lightning's sanity check is left out.
    """

    @torch.no_grad()
    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking:
            return
        table = pl_module.output_table()  # type: ignore[operator]
        for name, value in spectrum(table[1:-1]).items():
            pl_module.log(f"val/spectrum/{name}", value.float(), sync_dist=True)
