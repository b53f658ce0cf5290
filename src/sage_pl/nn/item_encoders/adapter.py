"""Maps from text vectors to the model's width, called as ``Adapter(input_dim, output_dim)``."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from sage_pl.errors import SettingError
from sage_pl.ranges import Dropout, Width


class Adapter(nn.Module):
    """``x -> W2 (W1 x + b1) + b2`` without an activation between, computed as ``(W2 W1) x + (W2 b1 + b2)``.

    Folding is exact, in value and in the gradients of both factors, and for text of width 1536 a twelfth of the work
    per item. Both factors stay parameters because two layers train differently from one.

    Args:
        input_dim: width of the text vectors.
        output_dim: width of a view.
        hidden_dim: width between the layers; None for half of ``input_dim``, as in the reference.

    Shape: ``[*P, input_dim] -> [*P, output_dim]``.
    """

    def __init__(self, input_dim: Width, output_dim: Width, hidden_dim: Width | None = None) -> None:
        super().__init__()
        hidden_dim = hidden_dim or max(input_dim // 2, 1)
        self.down = nn.Linear(input_dim, hidden_dim)
        self.out = nn.Linear(hidden_dim, output_dim)
        for layer in (self.down, self.out):
            nn.init.xavier_normal_(layer.weight)

    def forward(self, x: Float[Tensor, "*P D"]) -> Float[Tensor, "*P E"]:
        weight = self.out.weight @ self.down.weight
        bias = torch.addmv(self.out.bias, self.out.weight, self.down.bias)
        return F.linear(x, weight, bias)


class MLPAdapter(nn.Module):
    """``x -> W2 dropout(f(W1 x + b1)) + b2``: the adapter's two layers with an activation f between them.

    Args:
        input_dim: width of the text vectors.
        output_dim: width of a view.
        hidden_dim: width between the layers; None for half of ``input_dim``, as :class:`Adapter`.
        activation: f, applied to every number on its own; None for GELU.
        dropout: share of the hidden numbers dropped in training, in [0, 1).

    Shape: ``[*P, input_dim] -> [*P, output_dim]``.

    Raises:
        SettingError: ``dropout`` is outside [0, 1).
    """

    def __init__(
        self,
        input_dim: Width,
        output_dim: Width,
        hidden_dim: Width | None = None,
        activation: nn.Module | None = None,
        dropout: Dropout = 0.0,
    ) -> None:
        super().__init__()
        if not 0 <= dropout < 1:
            raise SettingError(f"item_encoder.adapter.dropout is {dropout}, wanted a share in [0, 1)")
        hidden_dim = hidden_dim or max(input_dim // 2, 1)
        self.down = nn.Linear(input_dim, hidden_dim)
        self.activation = activation or nn.GELU()
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(hidden_dim, output_dim)
        for layer in (self.down, self.out):
            nn.init.xavier_normal_(layer.weight)

    def forward(self, x: Float[Tensor, "*P D"]) -> Float[Tensor, "*P E"]:
        return self.out(self.dropout(self.activation(self.down(x))))
