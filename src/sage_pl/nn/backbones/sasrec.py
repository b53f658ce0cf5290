"""SASRec: a Transformer whose positions attend to themselves and their past."""

from __future__ import annotations

from sage_pl.nn.backbones.transformer import Transformer


class SASRec(Transformer):
    """Self-attentive sequential recommendation (Kang and McAuley 2018).

    Differs from the SAGE reference on purpose: its causal mask is commented out, so that in training every position but
    the last reads its own label, and its padding takes part in attention (docs/deviations.md). ``causal=False
    attend_padding=True`` restores both.
    """
