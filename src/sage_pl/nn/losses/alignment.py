"""Global alignment: an item's adapted text and its collaborative vector get the same neighbourhood."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from sage_pl.nn.losses.base import LossTerm
from sage_pl.nn.losses.contrastive import SoftTargets
from sage_pl.nn.losses.items import compared_items
from sage_pl.ranges import Pair, Temperature, Weight
from sage_pl.types import LossContext


class Alignment(LossTerm):
    """:class:`SoftTargets` of the ``text`` and ``id`` views of the items that occur in the step's sequences.

    Args:
        weight: beta in the paper.
        temperature: of the contrast; None for 0.1 of directions, and 1 of products as in the reference.
        detach_targets: soft targets are constants; False is the reference's form.
        cosine: compare directions. The reference's plain products of short vectors leave both softmaxes nearly uniform, so that
            the loss stays near the logarithm of the number of items and its gradient under 1 % of the recommendation loss's.
        max_items: items contrasted in one step, more are sampled down, since cost grows with their square; None keeps all.
        unique: each item once; False repeats it per occurrence, as the reference does.

    Reference: LLM-ESR code, its item regulariser; docs/deviations.md. Differs: distinct items, detached targets, and it
    works with every backbone (the reference never adds it for BERT4Rec).
    """

    extent = "users"
    needs = frozenset({"distinct_items"})
    reads = frozenset({"id", "text"})

    def __init__(
        self,
        weight: Weight,
        temperature: Temperature | None = None,
        detach_targets: bool = True,
        cosine: bool = False,
        max_items: Pair | None = 512,
        unique: bool = True,
    ) -> None:
        super().__init__(weight)
        self.temperature = temperature or (0.1 if cosine else 1.0)
        self.form = SoftTargets(cosine, detach_targets)
        self.max_items = max_items
        self.unique = unique

    def forward(self, step: LossContext) -> Float[Tensor, ""]:
        ids = compared_items(step, "items", self.unique, self.max_items)
        views = step.items.inputs(ids)
        return self.form(views["text"], views["id"], self.temperature)
