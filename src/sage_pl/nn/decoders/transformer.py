"""A Transformer as code decoder: self-attention over the prefix, cross-attention to the sequence."""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sage_pl.nn.backbones.t5 import T5Block
from sage_pl.nn.decoders.rows import gather_rows
from sage_pl.ranges import Depth, Dropout, Heads, Width
from sage_pl.types import Memory


class PrefixState(NamedTuple):
    """P prefixes of t - 1 codes, as t tokens with the start token."""

    past: tuple[Float[Tensor, "B P t D"], ...]  # each layer's normalised inputs
    output: Float[Tensor, "B P D"]
    memory: Memory


class TransformerDecoder(nn.Module):
    """Layers of ``self-attention over [start, E_1[c_1], ..., E_t[c_t]] → cross-attention to the memory → feed-forward``.

    Tokens are multiplied by sqrt(D) and get a position each. Each layer's inputs of past tokens are cached, so that a code is
    read once for all prefixes that continue it.

    Args:
        dim: width D of the memory and of the codes' vectors.
        levels: the most codes an item may have.
        layers, heads, hidden, dropout: see :class:`sage_pl.nn.backbones.t5.T5Block`.
        whole: the memory is all states of the sequence (an encoder-decoder as TIGER); False: the state at the position that
            predicts, where cross-attention adds a linear map of it.
    """

    def __init__(
        self,
        dim: Width = 64,
        levels: Depth = 6,
        layers: Depth = 1,
        heads: Heads = 2,
        hidden: Width | None = None,
        dropout: Dropout = 0.0,
        whole: bool = False,
    ) -> None:
        super().__init__()
        self.dim = dim
        self.levels = levels
        self.whole = whole
        self.per_prefix = (levels * layers + 12) * dim
        self.start = nn.Parameter(torch.empty(dim).normal_(std=0.02))
        self.position = nn.Parameter(torch.empty(levels, dim).normal_(std=0.02))
        layer = functools.partial(T5Block, dim, heads, hidden or 4 * dim, dropout, cross=True)
        self.blocks: Any = nn.ModuleList(layer() for _ in range(layers))
        self.norm = nn.RMSNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def begin(self, memory: Memory) -> PrefixState:
        start = self.start.expand(len(memory.vectors), 1, self.dim)
        no_past = start[:, :, None, :][:, :, :0]
        return self._read(start, (no_past,) * len(self.blocks), memory)

    def outputs(self, state: PrefixState) -> Float[Tensor, "B P D"]:
        return state.output

    def products(
        self, state: PrefixState, rows: Int[Tensor, "C"], tokens: Float[Tensor, "C D"]
    ) -> Float[Tensor, "B C"]:
        return (state.output[:, rows] * tokens).sum(-1)

    def advance(self, state: PrefixState, tokens: Float[Tensor, "#A C D"], parents: Int[Tensor, "#A C"]) -> PrefixState:
        past = tuple(gather_rows(layer, parents) for layer in state.past)
        tokens = tokens + self.position[past[0].shape[2] - 1]
        return self._read(tokens.expand(len(past[0]), -1, -1), past, state.memory)

    def _read(self, tokens: Float[Tensor, "B P D"], past: tuple[Tensor, ...], memory: Memory) -> PrefixState:
        x = self.dropout(tokens * math.sqrt(self.dim))
        allowed = memory.mask[:, None, None, :]
        sources = []
        for block, before in zip(self.blocks, past, strict=True):
            source = torch.cat([before, block.norm_own(x)[:, :, None]], 2)
            x = block.attend(x.flatten(0, 1)[:, None], source.flatten(0, 1)).view_as(x)
            x = block.cross_attend_and_feed_forward(x, memory.vectors, allowed)
            sources.append(source)
        return PrefixState(tuple(sources), self.dropout(self.norm(x)), memory)
