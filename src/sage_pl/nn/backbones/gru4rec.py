"""GRU4Rec: a recurrent network over the items."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from sage_pl.ranges import Depth, Dropout, Width


class GRU4Rec(nn.Module):
    """Gated recurrent units (Hidasi et al. 2016), the state starting at the first real item.

    Differs from the SAGE reference on purpose, which runs over padding and ignores dropout (docs/deviations.md): sequences are
    shifted to the left, so that padding follows the last item and reaches no state in use.

    Args:
        dim: width D of input and state.
        layers: stacked GRU layers.
        dropout: on the input, and between layers.
        bias: biases of the gates; the reference has none.
    """

    causal = True

    def __init__(self, dim: Width = 64, layers: Depth = 1, dropout: Dropout = 0.5, bias: bool = True) -> None:
        super().__init__()
        self.dim = dim
        self.dropout = nn.Dropout(dropout)
        self.gru = nn.GRU(dim, dim, layers, bias=bias, batch_first=True, dropout=dropout if layers > 1 else 0.0)
        for name, weight in self.gru.named_parameters():
            if name.startswith("weight"):
                nn.init.xavier_normal_(weight)

    def embed(self, x: Float[Tensor, "B L D"], mask: Bool[Tensor, "B L"]) -> Float[Tensor, "B L D"]:
        """Dropout alone; the recurrence encodes the order."""
        return self.dropout(x)

    def forward(
        self, x: Float[Tensor, "B L D"], mask: Bool[Tensor, "B L"], last_only: bool = False
    ) -> Float[Tensor, "B K D"]:
        length = mask.shape[1]
        paddings = length - mask.sum(1, keepdim=True)
        column = torch.arange(length, device=x.device)
        to_left = ((column + paddings) % length)[..., None].expand_as(x)
        to_right = ((column - paddings) % length)[..., None].expand_as(x)
        states, _ = self.gru(x.gather(1, to_left))
        states = states.gather(1, to_right) * mask[..., None]
        return states[:, -1:] if last_only else states
