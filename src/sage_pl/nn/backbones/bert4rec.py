"""BERT4Rec: a Transformer whose positions attend to the whole sequence, trained on masked items."""

from __future__ import annotations

from sage_pl.nn.backbones.transformer import Transformer


class BERT4Rec(Transformer):
    """Bidirectional encoder (Sun et al. 2019), with the block of SASRec as in the SAGE reference (docs/deviations.md); use
    ``targets=cloze``.
    """

    def __init__(
        self,
        dim: int = 64,
        max_len: int = 50,
        layers: int = 2,
        heads: int = 1,
        dropout: float = 0.5,
        attend_padding: bool = False,
    ) -> None:
        super().__init__(dim, max_len, layers, heads, dropout, causal=False, attend_padding=attend_padding)
