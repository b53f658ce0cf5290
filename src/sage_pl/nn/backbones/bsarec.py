"""BSARec: self-attention beside a filter of slow and fast changes."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from sage_pl.errors import SettingError
from sage_pl.nn.backbones.attention import MultiHeadAttention, attention_mask, start_normal
from sage_pl.ranges import Count, Depth, Deviation, Dropout, Heads, Length, Share, Width


def low_pass(mask: Bool[Tensor, "B L"], cutoff: int) -> Float[Tensor, "B L L"]:
    """Matrices that keep the ``cutoff // 2 + 1`` slowest waves of every sequence, over its own n real positions.

    ``M[t, s] = 1/n sum_{|f| <= m} cos(2 pi f (t - s) / n)``, m = min(cutoff // 2, n // 2), with the fastest wave of an even n
    counted once: the inverse of the Fourier transform whose higher frequencies are set to 0. Rows and columns of padding are 0.
    """
    n = mask.sum(1)[:, None, None].clamp(min=1)
    place = torch.arange(mask.shape[1], device=mask.device)
    angle = 2 * math.pi * (place[:, None] - place[None, :]) / n
    waves = torch.ones_like(angle)
    for f in range(1, cutoff // 2 + 1):
        times = 2 * (2 * f < n) + (2 * f == n)
        waves = waves + times * (f * angle).cos()
    return waves / n * (mask[:, :, None] & mask[:, None, :])


class Block(nn.Module):
    """``X = a F(X) + (1 - a) A(X); X = LN(X + FFN(X))``, with the filter ``F(X) = LN(X + low + b^2 (X - low))`` and the
    attention ``A(X) = LN(X + MHA(X))``.
    """

    def __init__(self, dim: Width, heads: Heads, dropout: Dropout, alpha: float) -> None:
        super().__init__()
        self.alpha = alpha
        self.beta = nn.Parameter(torch.randn(dim))
        self.attention = MultiHeadAttention(dim, heads, dropout)
        self.feed_forward = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))
        self.norm_filter, self.norm_attention, self.norm = (nn.LayerNorm(dim) for _ in range(3))
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Float[Tensor, "B L D"], slow: Float[Tensor, "B L L"], allowed: Bool[Tensor, "B 1 L L"]
    ) -> Float[Tensor, "B L D"]:
        low = slow @ x
        filtered = self.norm_filter(x + self.dropout(low + self.beta.square() * (x - low)))
        attended = self.norm_attention(x + self.dropout(self.attention(x, x, allowed)))
        x = self.alpha * filtered + (1 - self.alpha) * attended
        return self.norm(x + self.dropout(self.feed_forward(x)))


class BSARec(nn.Module):
    """Attentive sequential recommendation with an inductive bias of frequencies (Shin et al. 2024); use ``targets=prefixes``.

    The filter of a position covers the whole sequence, so only the last position may be trained; its attention is causal, as in
    the reference code. Differs: the Fourier transform is over the real items of a sequence, so that states do not depend on
    padding; the reference's is over a window of fixed length that is mostly padding.

    Args:
        dim: width D.
        max_len: longest input.
        layers: number of blocks.
        heads: attention heads per block.
        dropout: on the input, the attention weights and all sub-layers.
        alpha: share of the filter beside attention, 0..1.
        cutoff: c; the c // 2 + 1 slowest waves pass.
        init_std: standard deviation of the start of positions and linear layers, whose biases then start at 0, as in the
            reference code (0.02); None for 0.02 and those of Xavier and torch.

    Raises:
        SettingError: alpha is outside [0, 1], or the cut-off is below 1.
    """

    causal = False

    def __init__(
        self,
        dim: Width = 64,
        max_len: Length = 50,
        layers: Depth = 2,
        heads: Heads = 1,
        dropout: Dropout = 0.5,
        alpha: Share = 0.7,
        cutoff: Count = 5,
        init_std: Deviation | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= alpha <= 1 or cutoff < 1:
            raise SettingError(
                f"backbone has alpha={alpha} and cutoff={cutoff}, wanted a share in [0, 1] and at least 1"
            )
        self.dim = dim
        self.cutoff = cutoff
        self.position = nn.Embedding(max_len + 2, dim, padding_idx=0)
        nn.init.normal_(self.position.weight, std=0.02 if init_std is None else init_std)
        self.norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(dim, heads, dropout, alpha) for _ in range(layers))
        if init_std is not None:
            start_normal(self.blocks, init_std)

    def embed(self, x: Float[Tensor, "B L D"], mask: Bool[Tensor, "B L"]) -> Float[Tensor, "B L D"]:
        """``Dropout(LN(x + P[position]))``, positions counted from the oldest item."""
        positions = mask.long().cumsum(1) * mask
        return self.dropout(self.norm(x + self.position(positions)))

    def forward(
        self, x: Float[Tensor, "B L D"], mask: Bool[Tensor, "B L"], last_only: bool = False
    ) -> Float[Tensor, "B K D"]:
        keep = mask[..., None].to(x.dtype)
        slow, allowed = low_pass(mask, self.cutoff).to(x.dtype), attention_mask(mask, causal=True)
        x = x * keep
        for block in self.blocks:
            x = block(x, slow, allowed) * keep
        return x[:, -1:] if last_only else x
