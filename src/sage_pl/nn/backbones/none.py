"""No sequence model: a position's state is its item."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor, nn

from sage_pl.ranges import Dropout, Width


class NoBackbone(nn.Module):
    """``h_t = Dropout(sqrt(D) x_t)``, for sequence encoders that mix the positions themselves, as SAM, ComiRec and SINE were
    published. With ``sequence_encoder=single`` the last item alone predicts the next.

    Args:
        dim: width D.
        dropout: on the items' vectors.
    """

    causal = True

    def __init__(self, dim: Width = 64, dropout: Dropout = 0.5) -> None:
        super().__init__()
        self.dim = dim
        self.dropout = nn.Dropout(dropout)

    def embed(self, x: Float[Tensor, "B L D"], mask: Bool[Tensor, "B L"]) -> Float[Tensor, "B L D"]:
        """Scale and dropout; the sequence encoder encodes the order."""
        return self.dropout(x * self.dim**0.5)

    def forward(
        self, x: Float[Tensor, "B L D"], mask: Bool[Tensor, "B L"], last_only: bool = False
    ) -> Float[Tensor, "B K D"]:
        states = x * mask[..., None]
        return states[:, -1:] if last_only else states
