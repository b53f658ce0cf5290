"""Caser: convolutions over the last items, across them and along them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from sage_pl.ranges import Count, Dropout, Length, Width


class Caser(nn.Module):
    """Convolutional sequence embedding (Tang and Wang 2018, section 3) of the window ``E_t``, w items that end at position t.

    - horizontal: ``o_(h,k) = max_i relu(<F_(h,k), E_t[i : i + h]> + b_(h,k))``, K filters of each height h = 1 .. w;
    - vertical: ``p_m = sum_j V_mj E_t[j] + c_m``, M weighted sums of the items, each of width D;
    - ``h_t = W dropout([o ; p]) + b``.

    A window ends at its position, so every position is trained and none sees its label. What lies before the first item is a
    row of zeros, as in the paper. One pass over the sequence gives all windows: the filters run over the sequence once, and a
    maximum over the last w - h + 1 of their results is that of the window.

    Args:
        dim: width D.
        window: w, L in the paper.
        horizontal: K, filters of each height.
        vertical: M.
        dropout: on the features before the last layer.
        relu: ``h_t = relu(...)``, the paper's form. An item's vector is the same here where it is read and where it is scored,
            so states without negative entries would leave half of the space unused; the paper has output vectors beside them.

    Reference: settings of the authors' PyTorch code. Differs: no vector of the user beside ``h_t``, so that new users are
    served as known ones; every position is a sample (the paper: windows, each of which predicts its next three items); items
    are scaled by sqrt(D) as in the Transformers, since filters learn slowly from vectors that start at 0.02.
    """

    causal = True

    def __init__(
        self,
        dim: Width = 64,
        window: Length = 5,
        horizontal: Count = 16,
        vertical: Count = 4,
        dropout: Dropout = 0.5,
        relu: bool = False,
    ) -> None:
        super().__init__()
        self.dim, self.window, self.relu = dim, window, relu
        self.horizontal = nn.ModuleList(nn.Conv1d(dim, horizontal, height) for height in range(1, window + 1))
        self.vertical = nn.Linear(window, vertical)
        self.out = nn.Linear(window * horizontal + vertical * dim, dim)
        self.dropout = nn.Dropout(dropout)
        for layer in (*self.horizontal, self.vertical, self.out):
            nn.init.xavier_normal_(layer.weight)
            nn.init.zeros_(layer.bias)

    def embed(self, x: Float[Tensor, "B L D"], mask: Bool[Tensor, "B L"]) -> Float[Tensor, "B L D"]:
        """``sqrt(D) x``; a window holds the order."""
        return x * self.dim**0.5

    def forward(
        self, x: Float[Tensor, "B L D"], mask: Bool[Tensor, "B L"], last_only: bool = False
    ) -> Float[Tensor, "B K D"]:
        x = x * mask[..., None]
        if last_only:
            x, mask = x[:, -self.window :], mask[:, -1:]
        x = F.pad(
            x, (0, 0, self.window - 1 - (x.shape[1] - mask.shape[1]), 0)
        )  # each of the last K positions ends a window
        rows = x.transpose(1, 2)
        unions = [
            F.max_pool1d(F.relu(filters(rows)), self.window - height, stride=1)
            for height, filters in enumerate(self.horizontal)
        ]
        points = self.vertical(rows.unfold(2, self.window, 1)).permute(0, 3, 1, 2).flatten(1, 2)
        features = torch.cat([*unions, points], dim=1).transpose(1, 2)
        states = self.out(self.dropout(features))
        return (F.relu(states) if self.relu else states) * mask[..., None]
