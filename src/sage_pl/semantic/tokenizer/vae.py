"""The network of the residual-quantised autoencoder, and its loss terms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from sage_pl.ranges import Depth, Width


class Encoded(NamedTuple):
    """One pass: latent z, quantised z_q, codes, and of every level the residual before quantisation and the chosen row."""

    latent: Float[Tensor, "B e"]
    quantised: Float[Tensor, "B e"]
    codes: Int[Tensor, "B T"]
    residuals: Float[Tensor, "T B e"]
    chosen: Float[Tensor, "T B e"]

    @property
    def through(self) -> Float[Tensor, "B e"]:
        """``z + sg(z_q - z)``: the value of z_q, the gradient of z, once for the sum of all levels."""
        return self.latent + (self.quantised - self.latent).detach()


class ResidualAutoencoder(nn.Module):
    """``z = Enc(x); c_t = argmin_v |r_t - C_t[v]|^2; r_{t+1} = r_t - sg(C_t[c_t]); x' = Dec(z + sg(z_q - z))``.

    Args:
        dim: width D of the source vectors.
        width: e, of latent vectors and codebook rows.
        hidden: widths of the encoder's layers (ReLU); the decoder mirrors them.
        levels: T.
        codes: V.
        target_dim: width of the target vectors, or None.

    Reference: RQ-VAE as in LC-Rec and LETTER. Differs: the residual subtracts a constant, so that the commitment of every
    level reaches the encoder (theirs subtract the straight-through value, whose gradient cancels beyond level 1).
    """

    def __init__(
        self, dim: Width, width: Width, hidden: Sequence[Width], levels: Depth, codes: Width, target_dim: int | None
    ) -> None:
        super().__init__()
        self.encoder = _mlp([dim, *hidden, width])
        self.decoder = _mlp([width, *reversed(hidden), dim])
        self.codebooks = nn.Parameter(torch.zeros(levels, codes, width))
        self.projection = nn.Linear(width, target_dim) if target_dim else None

    def forward(self, x: Float[Tensor, "B D"]) -> Encoded:
        latent = residual = self.encoder(x)
        codes, residuals, chosen = [], [], []
        for codebook in self.codebooks:
            codes.append(_squares(residual.detach(), codebook.detach()).argmin(dim=1))
            residuals.append(residual)
            chosen.append(codebook[codes[-1]])
            residual = residual - chosen[-1].detach()
        rows = torch.stack(chosen)
        return Encoded(latent, rows.sum(0), torch.stack(codes, 1), torch.stack(residuals), rows)


def quantisation_loss(
    residuals: Float[Tensor, "T B e"], chosen: Float[Tensor, "T B e"], beta: float
) -> Float[Tensor, ""]:
    """``1/T sum_t [ |sg(r_t) - q_t|^2 + beta |r_t - sg(q_t)|^2 ]``, both as means over items and width.

    The first half moves codebook rows to residuals, the second commits the encoder to the rows.
    """
    return F.mse_loss(chosen, residuals.detach()) + beta * F.mse_loss(residuals, chosen.detach())


def pulling_loss(
    projected: Float[Tensor, "B D"], target: Float[Tensor, "B D"], trust: Float[Tensor, "B"], temperature: float
) -> Float[Tensor, ""]:
    """InfoNCE between quantised and target vectors of the same items, each item weighted by the trust in its target.

    ``S = cos(p, t) / temperature; loss = - sum_i w_i 1/2 [log row_softmax(S)_ii + log row_softmax(S^T)_ii] / sum_i w_i``.
    Items of trust 0 are masked on both sides; 0 for fewer than two others.
    """
    valid = trust > 0
    if valid.sum() < 2:
        return projected.sum() * 0
    scores = F.normalize(projected[valid], dim=1) @ F.normalize(target[valid], dim=1).T / temperature
    labels = torch.arange(len(scores), device=scores.device)
    losses = F.cross_entropy(scores, labels, reduction="none") + F.cross_entropy(scores.T, labels, reduction="none")
    return (losses * trust[valid]).sum() / (2 * trust[valid].sum())


def evenness_loss(residuals: Float[Tensor, "T B e"], codebooks: Float[Tensor, "T V e"]) -> Float[Tensor, ""]:
    """Negative entropy of the soft code frequencies, mean over levels: ``1/T sum_t sum_v p_v log p_v``.

    ``p = mean_i softmax_v(-d_iv / tau)`` with d the squared distances and tau a tenth of their mean, a constant. The least
    value, ``-log V``, is that of even frequencies. The gradient reaches the codebooks alone: an encoder could scatter items.
    """
    d = _squares(residuals.detach(), codebooks)
    tau = 0.1 * d.detach().mean(dim=(1, 2), keepdim=True).clamp(min=1e-12)
    log_p = torch.logsumexp(F.log_softmax(-d / tau, dim=2), dim=1) - math.log(d.shape[1])  # p itself may underflow
    return (log_p.exp() * log_p).sum(dim=1).mean()


def _squares(rows: Float[Tensor, "*P B e"], centres: Float[Tensor, "*P V e"]) -> Float[Tensor, "*P B V"]:
    """Squared distances; a root would have an infinite gradient where a row equals a centre."""
    products = rows @ centres.transpose(-1, -2)
    return rows.square().sum(-1, keepdim=True) - 2 * products + centres.square().sum(-1).unsqueeze(-2)


def _mlp(widths: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(widths):
        layers += [nn.Linear(n_in, n_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
