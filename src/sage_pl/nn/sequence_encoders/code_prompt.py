"""A history as the vectors of its codes, for decoders that read them themselves."""

from __future__ import annotations

from typing import ClassVar

from jaxtyping import Bool, Float
from torch import Tensor, nn

from sage_pl.ranges import Width
from sage_pl.types import SeqBatch, Views


class CodePrompt(nn.Module):
    """``[B, L, T D] -> [B, L T, D]``: one token per code, as it is; nothing is computed.

    Args:
        dim: width D of a token.
        view: the view of the items with the tokens.
    """

    per_code: ClassVar[bool] = True  # a state for each code: for networks that read a history as a whole

    def __init__(self, dim: Width, view: str = "tokens") -> None:
        super().__init__()
        self.output_dim = dim
        self.view = view
        self.reads = frozenset({view})

    def forward(
        self, views: Views, mask: Bool[Tensor, "B L"], batch: SeqBatch, last_only: bool = False
    ) -> Float[Tensor, "B K E"]:
        tokens = views[self.view].unflatten(2, (-1, self.output_dim)).flatten(1, 2)
        return tokens[:, -1:] if last_only else tokens
