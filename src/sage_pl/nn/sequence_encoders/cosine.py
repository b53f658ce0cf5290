"""States of one length, so that scores are cosines divided by a temperature."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from sage_pl.ranges import Temperature
from sage_pl.types import SeqBatch, SequenceEncoder, Views


class CosineStates(nn.Module):
    """``h / (t ||h||)`` of another sequence encoder's states, so that with items of length 1
    (:class:`sage_pl.nn.item_encoders.unit.UnitItems`) ``<h_u, v_i> = cos(h_u, v_i) / t``.

    The temperature is part of the state and not of a loss, so every objective, ranks, scorers and exported models have the same
    scores. States of padding stay zero.

    Args:
        encoder: the sequence encoder.
        temperature: t.

    Reference: cosine softmax of HSTU (Zhai et al. 2024), temperatures 0.05 to 0.1.
    """

    def __init__(self, encoder: SequenceEncoder, temperature: Temperature = 0.07) -> None:
        super().__init__()
        self.encoder = encoder
        self.temperature = temperature
        self.reads = encoder.reads
        self.output_dim = encoder.output_dim

    def forward(
        self, views: Views, mask: Bool[Tensor, "B L"], batch: SeqBatch, last_only: bool = False
    ) -> Float[Tensor, "B K *I E"]:
        return F.normalize(self.encoder(views, mask, batch, last_only=last_only), dim=-1) / self.temperature
