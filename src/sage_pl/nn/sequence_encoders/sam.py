"""SAM: interests described in words attend to the sequence, then to each other."""

from __future__ import annotations

from typing import ClassVar, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sage_pl.nn.backbones.attention import MultiHeadAttention
from sage_pl.nn.sequence_encoders.interest_queries import Queries
from sage_pl.nn.sequence_encoders.interests import Interests
from sage_pl.ranges import Dropout, Heads, Length, Natural, Width


@runtime_checkable
class QuerySource(Protocol):
    """The queries of every user."""

    def __call__(self, users: Int[Tensor, "B"] | None, n: int) -> Queries: ...


class InterestAttention(nn.Module):
    """Interest-aware attention, then cross-interest attention.

        ``z_k = sum_t softmax_t(<q_k, h_t + P_(L-t)> / sqrt(D)) h_t``
        ``Z = Z + MHA(LN(Z)); Z = Z + FFN(LN(Z))``, ``layers`` times over a user's own interests; ``z_k = LN(z_k)``

    Positions P count from the newest item. Padding is no key; padding among a user's interests is no key and has share 0.

    Args:
        queries: the queries of a user's interests.
        dim: width D.
        max_len: longest history.
        layers: of cross-interest attention; 0 leaves it out.
        heads: of it.
        dropout: in it.

    Shape: states [B, L, D], mask [B, L], users [B] -> vectors [B, K, D], shares [B, K].

    Reference: SAM's code. Differs: pre-norm for keys and values too, a norm at the end, masks (docs/methods/sam.md).
    """

    per_user = True
    READ_WITH: ClassVar = dict.fromkeys(("heads", "dropout"), ("layers", bool))

    def __init__(
        self,
        queries: QuerySource,
        dim: Width = 64,
        max_len: Length = 50,
        layers: Natural = 1,
        heads: Heads = 4,
        dropout: Dropout = 0.2,
    ) -> None:
        super().__init__()
        self.queries = queries
        self.position = ReversePositions(max_len, dim)
        self.blocks = nn.ModuleList(CrossInterest(dim, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)

    def forward(
        self, states: Float[Tensor, "B L D"], mask: Bool[Tensor, "B L"], users: Int[Tensor, "B"] | None
    ) -> Interests:
        queries, real = self.queries(users, states.shape[0])
        z = F.scaled_dot_product_attention(queries, self.position(states), states, visible(mask)[:, None])
        for block in self.blocks:
            z = block(z, real)
        return Interests(self.norm(z), real / real.sum(1, keepdim=True))


class CrossInterest(nn.Module):
    """One Transformer layer over the interests of a user."""

    def __init__(self, dim: Width, heads: Heads, dropout: Dropout) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(dim)
        self.attention = MultiHeadAttention(dim, heads, dropout)
        self.norm = nn.LayerNorm(dim)
        self.feed_forward = nn.Sequential(
            nn.Linear(dim, 2 * dim), nn.ReLU(), nn.Dropout(dropout), nn.Linear(2 * dim, dim)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, z: Float[Tensor, "B K D"], real: Bool[Tensor, "B K"]) -> Float[Tensor, "B K D"]:
        source = self.norm_attention(z)
        z = z + self.dropout(self.attention(source, source, real[:, None, None]))
        return z + self.dropout(self.feed_forward(self.norm(z)))


class ReversePositions(nn.Module):
    """Adds a learned vector for each position's distance from the end of the sequence."""

    def __init__(self, max_len: Length, dim: Width) -> None:
        super().__init__()
        self.table = nn.Embedding(max_len + 1, dim)  # one more for an appended mask token
        nn.init.normal_(self.table.weight, std=0.02)

    def forward(self, states: Float[Tensor, "B L D"]) -> Float[Tensor, "B L D"]:
        return states + self.table.weight[: states.shape[1]].flip(0)


def visible(mask: Bool[Tensor, "B L"]) -> Bool[Tensor, "B L"]:
    """The mask with the last position always True, so that attention over a row of padding stays finite."""
    last = torch.arange(mask.shape[1], device=mask.device) == mask.shape[1] - 1
    return mask | last
