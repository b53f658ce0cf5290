"""BERT4Rec: a Transformer whose positions attend to the whole sequence, trained on masked items."""

from __future__ import annotations

from sage_pl.nn.backbones.transformer import Norm, Transformer
from sage_pl.ranges import Depth, Deviation, Dropout, Heads, Length, Width


class BERT4Rec(Transformer):
    """Bidirectional encoder (Sun et al. 2019), with the block of SASRec as in the SAGE reference (docs/deviations.md); use
    ``targets=cloze``.
    """

    def __init__(
        self,
        dim: Width = 64,
        max_len: Length = 50,
        layers: Depth = 2,
        heads: Heads = 1,
        dropout: Dropout = 0.5,
        attend_padding: bool = False,
        norm: Norm = "sasrec",
        init_std: Deviation | None = None,
    ) -> None:
        super().__init__(dim, max_len, layers, heads, dropout, False, attend_padding, norm, init_std)
