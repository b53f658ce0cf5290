"""Alignment of two views of the same items: the choice of items, and the losses that compare item with item."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from sage_pl.errors import SettingError
from sage_pl.nn.losses.base import LossTerm
from sage_pl.nn.losses.contrastive import InfoNCE
from sage_pl.nn.losses.items import compared_items
from sage_pl.ranges import Pair, Temperature, Weight
from sage_pl.types import LossContext


class ViewAlignment(LossTerm):
    """A loss over two views of the real items in the step's inputs; subclasses define :meth:`compare`.

    Padding and mask token never take part. Gradient reaches both views.

    Args:
        weight: factor of this loss.
        views: the two views.
        max_items: items compared in one step, more are sampled down, since cost may grow with their square; None keeps all.
        unique: each item once; False repeats it per occurrence.

    Raises:
        ValueError: ``views`` are other than two different ones, or ``max_items`` is below 2.
    """

    extent = "users"
    needs = frozenset({"distinct_items"})

    def __init__(
        self,
        weight: Weight,
        views: Sequence[str] = ("text", "id"),
        max_items: Pair | None = 512,
        unique: bool = True,
    ) -> None:
        super().__init__(weight)
        if len(views) != 2 or views[0] == views[1]:
            raise SettingError(
                f"an alignment term's views are {list(views)}, wanted two different ones, e.g. [text,id]"
            )
        if max_items is not None and max_items < 2:
            raise SettingError(
                f"an alignment term's max_items is {max_items}, wanted at least 2, or null for all items"
            )
        self.views = (views[0], views[1])
        self.reads = frozenset(views)
        self.max_items = max_items
        self.unique = unique

    def forward(self, step: LossContext) -> Float[Tensor, ""]:
        ids = compared_items(step, "items", self.unique, self.max_items)
        encoded = step.items.inputs(ids)
        first, second = (encoded[name] for name in self.views)
        return self.compare(first, second) if len(ids) else first.new_zeros(())

    @abstractmethod
    def compare(self, a: Float[Tensor, "M D"], b: Float[Tensor, "M D"]) -> Float[Tensor, ""]:
        """Distance of the two views of at least one item; row i of both is the same item."""


class InfoNCEAlignment(ViewAlignment):
    """:class:`sage_pl.nn.losses.contrastive.InfoNCE` of the two views: each item against the others of the step.

    Args:
        weight, views, max_items, unique: see :class:`ViewAlignment`.
        temperature: of the contrast.
        cosine: compare directions; False takes inner products.

    Raises:
        ValueError: ``temperature`` is not positive.

    Reference: one of PAD's alternatives to MMD (its ablation of alignment losses).
    """

    def __init__(
        self,
        weight: Weight,
        views: Sequence[str] = ("text", "id"),
        max_items: Pair | None = 512,
        unique: bool = True,
        temperature: Temperature = 0.1,
        cosine: bool = True,
    ) -> None:
        super().__init__(weight, views, max_items, unique)
        if temperature <= 0:
            raise SettingError(f"the InfoNCE term's temperature is {temperature}, wanted a positive number, e.g. 0.1")
        self.temperature = temperature
        self.form = InfoNCE(cosine)

    def compare(self, a: Float[Tensor, "M D"], b: Float[Tensor, "M D"]) -> Float[Tensor, ""]:
        return self.form(a, b, self.temperature)


class CosineAlignment(ViewAlignment):
    """``mean_i 1 - cos(a_i, b_i)``: both views of an item get the same direction; lengths are free."""

    def compare(self, a: Float[Tensor, "M D"], b: Float[Tensor, "M D"]) -> Float[Tensor, ""]:
        return (1 - F.cosine_similarity(a, b, dim=1)).mean()


class MSEAlignment(ViewAlignment):
    """``mean (a_i - b_i)^2`` over items and widths: both views of an item become the same vector."""

    def compare(self, a: Float[Tensor, "M D"], b: Float[Tensor, "M D"]) -> Float[Tensor, ""]:
        return F.mse_loss(a, b)
