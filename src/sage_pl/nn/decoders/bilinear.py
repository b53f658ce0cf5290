"""A code decoder whose logits are linear in the state of the sequence."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sage_pl.nn.decoders.rows import gather_rows
from sage_pl.ranges import Depth, Dropout, Width
from sage_pl.types import Memory


class PrefixState(NamedTuple):
    """A sequence's state and the vectors of P prefixes; A is 1 where all users have the same prefixes."""

    state: Float[Tensor, "B 1 D"]
    prefix: Float[Tensor, "A P H"]
    level: int


class BilinearDecoder(nn.Module):
    """``o_t = (h + W_t h) * (1 + G p_t) + F p_t`` with ``p_t = GRU(E_1[c_1], ..., E_t[c_t])`` and ``p_0 = 0``; the logits of
    the next code are products with ``o_t``. W, G and F start at zero.

    A prefix weighs the directions of the state for the next code, and adds logits that do not depend on the state. Its vector
    depends on no user and the rest is an inner product with the state, so all items of a catalogue are scored by matrix
    products: ``<o_t, e> = <h + W_t h, (1 + G p_t) * e> + <F p_t, e>``.

    Args:
        dim: width D of the states and of the codes' vectors.
        levels: the most codes an item may have.
        hidden: width H of a prefix's vector.
        dropout: on ``o_t``.
    """

    whole = False
    per_prefix = 0

    def __init__(self, dim: Width = 64, levels: Depth = 6, hidden: Width = 128, dropout: Dropout = 0.0) -> None:
        super().__init__()
        self.dim = dim
        self.levels = levels
        self.hidden = hidden
        self.turn = nn.Parameter(torch.zeros(levels, dim, dim))
        self.reader = nn.GRUCell(dim, hidden)
        self.gate = nn.Linear(hidden, dim)
        self.shift = nn.Linear(hidden, dim)
        self.dropout = nn.Dropout(dropout)
        for weight in (*self.gate.parameters(), *self.shift.parameters()):
            nn.init.zeros_(weight)

    def begin(self, memory: Memory) -> PrefixState:
        return PrefixState(memory.vectors, memory.vectors.new_zeros(1, 1, self.hidden), 0)

    def outputs(self, state: PrefixState) -> Float[Tensor, "B P D"]:
        return self.dropout(self._at_level(state) * (1 + self.gate(state.prefix)) + self.shift(state.prefix))

    def products(
        self, state: PrefixState, rows: Int[Tensor, "C"], tokens: Float[Tensor, "C D"]
    ) -> Float[Tensor, "B C"]:
        gate, shift = (part(state.prefix)[0, rows] for part in (self.gate, self.shift))
        return self._at_level(state)[:, 0] @ ((1 + gate) * tokens).T + (shift * tokens).sum(1)

    def advance(self, state: PrefixState, tokens: Float[Tensor, "#A C D"], parents: Int[Tensor, "#A C"]) -> PrefixState:
        before = gather_rows(state.prefix, parents).expand(*tokens.shape[:2], -1)
        inputs = tokens * math.sqrt(self.dim)
        prefix = self.reader(inputs.flatten(0, 1), before.flatten(0, 1)).view_as(before)
        return PrefixState(state.state, prefix, state.level + 1)

    def _at_level(self, state: PrefixState) -> Float[Tensor, "B 1 D"]:
        return state.state + state.state @ self.turn[state.level].T
