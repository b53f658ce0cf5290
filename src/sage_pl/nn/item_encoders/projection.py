"""PAD's deep map from text vectors to the model's width."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from sage_pl.errors import SettingError
from sage_pl.ranges import Depth, Dropout, Width


class TextProjection(nn.Module):
    """``g(x) = f_k(... f_1(GELU(W x + b)))`` with ``f_j(y) = GELU(W_j dropout(y) + b_j)``.

    Args:
        input_dim: width of the text vectors.
        output_dim: width of a view, and of every layer.
        layers: k, layers after the first.
        dropout: before each of the k layers, in [0, 1).

    Shape: ``[*P, input_dim] -> [*P, output_dim]``.

    Raises:
        SettingError: ``dropout`` is outside [0, 1), or ``layers`` is negative.

    Reference: PAD's code (k = 4, dropout 0.1).
    """

    def __init__(self, input_dim: Width, output_dim: Width, layers: Depth = 4, dropout: Dropout = 0.1) -> None:
        super().__init__()
        if not 0 <= dropout < 1:
            raise SettingError(f"the text projection's dropout is {dropout}, wanted a share in [0, 1)")
        if layers < 0:
            raise SettingError(f"the text projection's layers are {layers}, wanted 0 or more after the first")
        stack: list[nn.Module] = [nn.Linear(input_dim, output_dim), nn.GELU()]
        for _ in range(layers):
            stack += [nn.Dropout(dropout), nn.Linear(output_dim, output_dim), nn.GELU()]
        self.stack = nn.Sequential(*stack)
        for layer in self.stack:
            if isinstance(layer, nn.Linear):
                nn.init.xavier_normal_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(self, x: Float[Tensor, "*P D"]) -> Float[Tensor, "*P E"]:
        return self.stack(x)
