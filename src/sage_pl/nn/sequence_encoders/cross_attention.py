"""Cross-attention of two views, which may start from each position's own item."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sage_pl.nn.backbones.attention import MultiHeadAttention
from sage_pl.ranges import Heads, Signed, Width


class CrossAttention(MultiHeadAttention):
    """``softmax(Q K^T / sqrt(d) + s P + mask) V`` with one learned number s per head; P marks each query's own item.

    At the start V and O are the identity without bias, so the result is a mean of the source's vectors, in which a query's own
    item of n has the weight ``e^s / (e^s + n - 1)`` while products are small.

    Args:
        dim: width D of queries, source and result.
        heads: number of heads; must divide ``dim``.
        own_position: s of every head at the start. None is the published form: no s, V and O at random, weights of about 1 / n.

    Shape: query and source [B, L, D], allowed [B, 1, L, L], own [B, L] -> [B, L, D].
    """

    def __init__(self, dim: Width, heads: Heads = 2, own_position: Signed | None = None) -> None:
        super().__init__(dim, heads, bias=False)
        self.own: nn.Parameter | None = None
        if own_position is not None:
            nn.init.eye_(self.key_value.weight.data[dim:])
            nn.init.eye_(self.out.weight)
            nn.init.zeros_(self.out.bias)
            self.own = nn.Parameter(torch.full((heads,), float(own_position)))

    def forward(  # type: ignore[override]
        self,
        query: Float[Tensor, "B L D"],
        source: Float[Tensor, "B L D"],
        allowed: Bool[Tensor, "B 1 L L"],
        own: Int[Tensor, "B L"],
    ) -> Float[Tensor, "B L D"]:
        return super().forward(query, source, self.added(allowed, own))

    def added(self, allowed: Bool[Tensor, "B 1 L L"], own: Int[Tensor, "B L"]) -> Tensor:
        """The mask of the products: ``allowed`` itself, or s at a query's own item and minus infinity where it is not allowed.

        Args:
            allowed: True where a query attends.
            own: the position of each query's own item (:func:`own_positions`).
        """
        if self.own is None:
            return allowed
        marks = own[:, None, :, None] == torch.arange(allowed.shape[-1], device=allowed.device)
        return (marks * self.own[:, None, None]).masked_fill(~allowed, -torch.inf)


def own_positions(mask: Bool[Tensor, "B L"], masked: Bool[Tensor, "B L"] | None = None) -> Int[Tensor, "B L"]:
    """Where each query's own item stands: at its own position, for a mask token at the last item before it.

    Args:
        mask: False at padding.
        masked: True at mask tokens; None without any.
    """
    positions = torch.arange(mask.shape[1], device=mask.device)
    items = mask if masked is None else mask & ~masked
    last = torch.where(items, positions, -1).cummax(1).values
    return torch.where(last < 0, positions, last)
