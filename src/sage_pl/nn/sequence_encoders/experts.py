"""A separate sequence model for each view."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from sage_pl.errors import SettingError
from sage_pl.types import Backbone, SeqBatch, Views


class Experts(nn.Module):
    """``h = [backbone_1(view_1) ; backbone_2(view_2) ; ...]``: each expert reads the view of its own name.

    Experts are in alphabetical order of their names, as in :class:`sage_pl.nn.item_encoders.gated.GatedExperts`.

    Args:
        experts: a sequence model per view.

    Raises:
        SettingError: there is no expert, two share one model, or they differ in ``causal``.

    Reference: PAD, its three towers.
    """

    def __init__(self, experts: Mapping[str, Backbone]) -> None:
        super().__init__()
        names = sorted(experts)
        if not names:
            raise SettingError("sequence_encoder.experts is empty, wanted a backbone per expert of the items")
        if len({id(experts[name]) for name in names}) < len(names):
            raise SettingError(f"the experts {', '.join(names)} share a backbone, wanted one of their own for each")
        if len({experts[name].causal for name in names}) > 1:
            causal = {name: experts[name].causal for name in names}
            raise SettingError(f"causal differs between the experts: {causal}; one kind of targets cannot train both")
        self.experts = nn.ModuleDict({name: experts[name] for name in names})  # type: ignore[misc]
        self.reads = frozenset(names)
        self.output_dim = sum(experts[name].dim for name in names)

    def forward(
        self, views: Views, mask: Bool[Tensor, "B L"], batch: SeqBatch, last_only: bool = False
    ) -> Float[Tensor, "B K E"]:
        states = [
            backbone(backbone.embed(views[name], mask), mask, last_only)  # type: ignore[operator]
            for name, backbone in self.experts.items()
        ]
        return torch.cat(states, dim=-1)
