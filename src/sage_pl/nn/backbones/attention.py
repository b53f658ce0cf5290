"""Multi-head attention with an explicit mask, shared by the Transformer backbones and the cross-attention of two views."""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from sage_pl.errors import SettingError
from sage_pl.ranges import Deviation, Dropout, Heads, Width


def attention_mask(mask: Bool[Tensor, "B L"], causal: bool) -> Bool[Tensor, "B 1 L L"]:
    """True where a query (row) attends to a key (column): to real keys, with ``causal`` up to the query.

    Every query attends to itself, so that rows of padding stay finite; their results are unused.
    """
    past, itself = _square_masks(mask.shape[1], mask.device)
    allowed = mask[:, None, None, :]
    return (allowed & past if causal else allowed) | itself


@functools.lru_cache(maxsize=256)
def _square_masks(length: int, device: torch.device) -> tuple[Bool[Tensor, "L L"], Bool[Tensor, "L L"]]:
    """Keys up to the query, and the query itself. Cached per length: on a GPU, small kernels cost as much as their launch."""
    with torch.inference_mode(False):
        itself = torch.eye(length, dtype=torch.bool, device=device)
        return torch.ones_like(itself).tril(), itself


def start_normal(module: nn.Module, std: Deviation) -> None:
    """Start every linear layer of a module from N(0, std²) with biases 0."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


class MultiHeadAttention(nn.Module):
    """``softmax(Q K^T / sqrt(d) + mask) V``, heads concatenated and mixed by an output projection.

    Args:
        dim: width D of queries, keys, values and result.
        heads: number of heads; must divide ``dim``.
        dropout: probability of dropping an attention weight.
        bias: biases of the query, key and value projections (the output projection always has one).

    Shape: query [B, L, D], source [B, K, D], mask [B, 1, L, K] bool (True = attend) or float (added) -> [B, L, D].
    """

    def __init__(self, dim: Width, heads: Heads = 1, dropout: Dropout = 0.0, bias: bool = True) -> None:
        super().__init__()
        if dim % heads:
            raise SettingError(f"dim {dim} is not divisible by heads {heads}")
        self.heads = heads
        self.dropout = dropout
        self.query = nn.Linear(dim, dim, bias=bias)
        self.key_value = nn.Linear(dim, 2 * dim, bias=bias)
        self.out = nn.Linear(dim, dim)
        for layer in (self.query, self.key_value, self.out):
            nn.init.xavier_normal_(layer.weight)

    def forward(
        self, query: Float[Tensor, "B L D"], source: Float[Tensor, "B K D"], mask: Tensor | None
    ) -> Float[Tensor, "B L D"]:
        q = self._split(self.query(query))
        k, v = (self._split(part) for part in self.key_value(source).chunk(2, dim=-1))
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
        return self.out(mixed.transpose(1, 2).flatten(2))

    def _split(self, x: Float[Tensor, "B L D"]) -> Float[Tensor, "B H L D/H"]:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
