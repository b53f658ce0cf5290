"""One layer of a T5-style Transformer, for encoders and decoders."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from sage_pl.nn.backbones.attention import MultiHeadAttention
from sage_pl.ranges import Dropout, Heads, Width


class T5Block(nn.Module):
    """Normalisation before every part, residuals around it:
    ``x += MHA(norm x, source, source); [x += MHA(norm x, memory, memory);] x += W2 relu(W1 norm x)``.

    Args:
        dim: width D.
        heads: attention heads, each D / heads wide.
        hidden: width inside the feed-forward part.
        dropout: on what every part adds, and on attention weights.
        cross: with attention to a memory.

    Reference: Raffel et al. 2020 (T5): root mean square normalisation without bias. Differs: the attention's output projection
    has a bias and heads share D.
    """

    def __init__(self, dim: Width, heads: Heads, hidden: Width, dropout: Dropout, cross: bool = False) -> None:
        super().__init__()
        self.norm_own = nn.RMSNorm(dim)
        self.own = MultiHeadAttention(dim, heads, dropout, bias=False)
        if cross:
            self.norm_cross = nn.RMSNorm(dim)
            self.cross = MultiHeadAttention(dim, heads, dropout, bias=False)
        self.norm = nn.RMSNorm(dim)
        self.inner = nn.Linear(dim, hidden, bias=False)
        self.outer = nn.Linear(hidden, dim, bias=False)
        self.dropout = nn.Dropout(dropout)
        for layer in (self.inner, self.outer):
            nn.init.xavier_normal_(layer.weight)

    def attend(self, x: Float[Tensor, "*P L D"], source: Float[Tensor, "*P K D"], mask: Tensor | None = None) -> Tensor:
        """The first part; ``source`` is normalised by ``norm_own``."""
        return x + self.dropout(self.own(self.norm_own(x), source, mask))

    def cross_attend_and_feed_forward(
        self, x: Float[Tensor, "B L D"], memory: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """The other parts."""
        if memory is not None:
            x = x + self.dropout(self.cross(self.norm_cross(x), memory, mask))
        return x + self.dropout(self.outer(self.dropout(F.relu(self.inner(self.norm(x))))))
