"""States of models that were trained apart, scaled so that their scores add up on one scale."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sage_pl.nn.sequence_encoders.experts import Experts
from sage_pl.types import Backbone, SeqBatch, Views

_SMALLEST = 1e-12  # standard deviation of scores; states of padding are zero


class SummedExperts(Experts):
    """``h = [h_1 / s_1(h_1) ; h_2 / s_2(h_2) ; ...]`` with ``s_e(h)^2 = h^T C_e h``, the variance of the scores
    ``<h, v_e(i)>`` over all items.

    So an inner product with ``[v_1(i) ; v_2(i) ; ...]`` is the sum of the experts' standardised scores, up to a constant per
    user, which changes no rank.

    Args:
        experts: a sequence model per view.

    Buffers: ``C_e`` [D, D], the covariance of the expert's item vectors, which
    :class:`sage_pl.nn.modules.trained_apart.TrainedApart` sets; the identity before.

    Reference: EnsRec (RecSys 2026), the sum of an ID and a text model.
    """

    def __init__(self, experts: Mapping[str, Backbone]) -> None:
        super().__init__(experts)
        for name, expert in experts.items():
            self.register_buffer(f"covariance_{name}", torch.eye(expert.dim))

    def forward(
        self, views: Views, mask: Bool[Tensor, "B L"], batch: SeqBatch, last_only: bool = False
    ) -> Float[Tensor, "B K E"]:
        states = super().forward(views, mask, batch, last_only)
        widths = [expert.dim for expert in self.experts.values()]
        parts = zip(self.experts, states.split(widths, dim=-1), strict=True)
        return torch.cat([part / self._deviation(name, part) for name, part in parts], dim=-1)

    def _deviation(self, name: str, states: Float[Tensor, "B K D"]) -> Float[Tensor, "B K 1"]:
        variance = ((states @ self.get_buffer(f"covariance_{name}")) * states).sum(-1, keepdim=True)
        return variance.clamp(min=_SMALLEST**2).sqrt()
