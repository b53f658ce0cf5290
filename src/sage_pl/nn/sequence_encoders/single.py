"""One view, one backbone."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor, nn

from sage_pl.types import Backbone, SeqBatch, Views


class SingleView(nn.Module):
    """``h = backbone(view)``: the plain sequential recommender.

    Args:
        backbone: the sequence model.
        view: the view of the items that is read.
    """

    def __init__(self, backbone: Backbone, view: str = "id") -> None:
        super().__init__()
        self.backbone = backbone
        self.view = view
        self.reads = frozenset({view})
        self.output_dim = backbone.dim

    def forward(
        self, views: Views, mask: Bool[Tensor, "B L"], batch: SeqBatch, last_only: bool = False
    ) -> Float[Tensor, "B K E"]:
        return self.backbone(self.backbone.embed(views[self.view], mask), mask, last_only)
