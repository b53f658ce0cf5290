"""STOSA: self-attention between normal distributions, by their Wasserstein distances."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from sage_pl.errors import SettingError
from sage_pl.nn.backbones.attention import attention_mask
from sage_pl.nn.item_encoders.gaussian import positive, state_of
from sage_pl.ranges import Depth, Dropout, Heads, Length, Width
from sage_pl.types import SeqBatch, Views


class StochasticAttention(nn.Module):
    """A user is a normal distribution, made of those of the items (:class:`sage_pl.nn.item_encoders.gaussian.GaussianItems`).

    Input: ``m = elu(dropout(LN(m_i + P)))``, ``c = elu(dropout(LN(c_i + P'))) + 1``, then :class:`Block` ``layers`` times. It
    takes the place of a backbone.

    Args:
        dim: width D of mean and covariance.
        max_len: longest input.
        layers: number of blocks.
        heads: attention heads per block.
        dropout: on the input and on what each part of a block adds.
        attention_dropout: on attention weights.
        update_mean: False leaves the means as they come in, which is what the published code does by a misspelt variable: the
            attention then acts through the covariances alone.

    Shape: ``views [B, L, D] -> [B, L, 2 D + 2]``, states of padding are zero.

    Reference: STOSA (Fan et al. 2022), section 3.2. Differs: positions count from the oldest item, as in every backbone here.
    """

    reads = frozenset({"mean", "covariance"})

    def __init__(
        self,
        dim: Width = 64,
        max_len: Length = 50,
        layers: Depth = 1,
        heads: Heads = 4,
        dropout: Dropout = 0.3,
        attention_dropout: Dropout = 0.0,
        update_mean: bool = True,
    ) -> None:
        super().__init__()
        self.output_dim = 2 * dim + 2
        self.update_mean = update_mean
        self.position_mean, self.position_covariance = (nn.Embedding(max_len + 2, dim, padding_idx=0) for _ in range(2))
        for position in (self.position_mean, self.position_covariance):
            nn.init.normal_(position.weight, std=0.02)
        self.norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(dim, heads, dropout, attention_dropout) for _ in range(layers))

    def forward(
        self, views: Views, mask: Bool[Tensor, "B L"], batch: SeqBatch, last_only: bool = False
    ) -> Float[Tensor, "B K E"]:
        places = mask.long().cumsum(1) * mask
        mean = F.elu(self.dropout(self.norm(views["mean"] + self.position_mean(places))))
        covariance = positive(self.dropout(self.norm(views["covariance"] + self.position_covariance(places))))
        allowed = attention_mask(mask, causal=True)
        for block in self.blocks:
            updated, covariance = block(mean, covariance, allowed)
            mean = updated if self.update_mean else mean
        if last_only:
            mean, covariance, mask = mean[:, -1:], covariance[:, -1:], mask[:, -1:]
        return state_of(mean, covariance) * mask[..., None]


class Block(nn.Module):
    """Attention by ``A = softmax(-D / sqrt(D_head))``, D the squared Wasserstein distances of queries and keys, then FFNs.

    Queries, keys and values are ``(W m, elu(W' c) + 1)``. Means mix by ``A V``, covariances by ``(A * A) V'``, as those of a
    sum of independent variables do. Each stream has its own output layer and ``FFN(x) = W_2 elu(W_1 x)``, both with a residual
    and a LayerNorm that the streams share; a covariance leaves as ``elu(c) + 1``.

    Raises:
        SettingError: the heads do not divide the width.
    """

    def __init__(self, dim: Width, heads: Heads, dropout: Dropout, attention_dropout: Dropout) -> None:
        super().__init__()
        if dim % heads:
            raise SettingError(f"sequence_encoder.heads is {heads}, wanted a divisor of dim, which is {dim}")
        self.heads = heads
        self.of_mean, self.of_covariance = (nn.Linear(dim, 3 * dim) for _ in range(2))
        self.out_mean, self.out_covariance = (nn.Linear(dim, dim) for _ in range(2))
        self.feed_mean, self.feed_covariance = (
            nn.Sequential(nn.Linear(dim, 4 * dim), nn.ELU(), nn.Linear(4 * dim, dim)) for _ in range(2)
        )
        self.norm_attention, self.norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.dropout, self.attention_dropout = nn.Dropout(dropout), nn.Dropout(attention_dropout)

    def forward(
        self, mean: Float[Tensor, "B L D"], covariance: Float[Tensor, "B L D"], allowed: Bool[Tensor, "B 1 L L"]
    ) -> tuple[Float[Tensor, "B L D"], Float[Tensor, "B L D"]]:
        # distances of queries and keys, and weights
        means = [self._split(part) for part in self.of_mean(mean).chunk(3, dim=-1)]
        covariances = [self._split(part) for part in positive(self.of_covariance(covariance)).chunk(3, dim=-1)]
        query, key = (torch.cat([m, c.sqrt()], dim=-1) for m, c in zip(means[:2], covariances[:2], strict=True))
        scores = -squared_distances(query, key) / means[0].shape[-1] ** 0.5
        weights = self.attention_dropout(scores.masked_fill(~allowed, -torch.inf).softmax(-1))
        # mixtures
        mixed = self.out_mean(self._join(weights @ means[2]))
        mixed_covariance = self.out_covariance(self._join(weights.square() @ covariances[2]))
        mean = self.norm_attention(mean + self.dropout(mixed))
        covariance = self.norm_attention(covariance + self.dropout(mixed_covariance))
        mean = self.norm(mean + self.dropout(self.feed_mean(mean)))
        return mean, positive(self.norm(covariance + self.dropout(self.feed_covariance(covariance))))

    def _split(self, x: Float[Tensor, "B L D"]) -> Float[Tensor, "B H L D/H"]:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    @staticmethod
    def _join(x: Float[Tensor, "B H L _"]) -> Float[Tensor, "B L D"]:
        return x.transpose(1, 2).flatten(2)


def squared_distances(query: Float[Tensor, "*P L D"], key: Float[Tensor, "*P K D"]) -> Float[Tensor, "*P L K"]:
    """``|q - k|²`` of all pairs."""
    lengths = query.square().sum(-1)[..., None] + key.square().sum(-1)[..., None, :]
    return lengths - 2 * query @ key.transpose(-1, -2)
