"""A T5-style encoder over the codes of a history, one token per code."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from jaxtyping import Bool, Float
from torch import Tensor, nn

from sage_pl.nn.backbones.attention import attention_mask
from sage_pl.nn.backbones.t5 import T5Block
from sage_pl.ranges import Depth, Dropout, Heads, Length, Width
from sage_pl.types import SeqBatch, Views


class CodeTokens(nn.Module):
    """Every item is as many tokens as it has codes; all tokens of a history attend to each other.

    Tokens are multiplied by sqrt(D). A token's vector encodes the level of its code; a learned position, 1 for the last item,
    encodes how many items ago it was.

    Args:
        dim: width D of a token.
        max_len: longest history, in items.
        layers, heads, hidden, dropout: see :class:`sage_pl.nn.backbones.t5.T5Block`.
        view: the view of the items with the tokens, [T D]; any view whose width is a multiple of D is read as tokens.

    Shape: ``views [B, L, T D] -> [B, L T, D]``, for a :class:`sage_pl.types.DecoderNetwork` that reads whole sequences.

    Reference: TIGER (Rajput et al. 2023). Differs: learned positions in items rather than T5's relative ones in tokens; no user
    token.
    """

    per_code: ClassVar[bool] = True  # a state for each code: for networks that read a history as a whole

    def __init__(
        self,
        dim: Width = 64,
        max_len: Length = 50,
        layers: Depth = 2,
        heads: Heads = 4,
        hidden: Width | None = None,
        dropout: Dropout = 0.1,
        view: str = "tokens",
    ) -> None:
        super().__init__()
        self.output_dim = dim
        self.view = view
        self.reads = frozenset({view})
        self.position = nn.Embedding(max_len + 2, dim, padding_idx=0)
        nn.init.normal_(self.position.weight[1:], std=0.02)
        self.blocks: Any = nn.ModuleList(T5Block(dim, heads, hidden or 4 * dim, dropout) for _ in range(layers))
        self.norm = nn.RMSNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, views: Views, mask: Bool[Tensor, "B L"], batch: SeqBatch, last_only: bool = False
    ) -> Float[Tensor, "B K E"]:
        tokens = views[self.view].unflatten(2, (-1, self.output_dim))
        ago = mask.flip(1).cumsum(1).flip(1) * mask
        x = (tokens * math.sqrt(self.output_dim) + self.position(ago)[:, :, None]).flatten(1, 2)
        keep = mask.repeat_interleave(tokens.shape[2], 1)
        allowed = attention_mask(keep, causal=False)
        x = self.dropout(x)
        for block in self.blocks:
            x = block.cross_attend_and_feed_forward(block.attend(x, block.norm_own(x), allowed))
        x = self.dropout(self.norm(x)) * keep[..., None].to(x.dtype)
        return x[:, -1:] if last_only else x
