"""Collaborative and textual representations of the same items and of the same users find each other."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from sage_pl.errors import SettingError
from sage_pl.nn.losses.base import LossTerm
from sage_pl.nn.losses.items import compared_items
from sage_pl.ranges import Count, Pair, Temperature, Weight
from sage_pl.types import LossContext, real


class CrossModal(LossTerm):
    """``(L(e, g(x)) + L(h, t)) / 2``, L the in-batch cross-entropy both ways of the similarities
    ``s(a, b) = 1/M sum_m max_n cos(a_m, b_n)`` of vectors cut into M parts.

    The first compares the items of the step, their ID vector e with their adapted text g(x); the second its users, the state h
    of a history with the mean t of its items' adapted text. A model that was trained by this loss alone ranks already: its user
    is near the items whose text is like that of the history.

    Args:
        weight: factor of this loss.
        parts: M; must divide the width. 1 compares whole vectors.
        temperature: of the contrast.
        max_items: items compared in one step, more are sampled down, since cost grows with their square; None keeps all.

    Raises:
        SettingError: in the first step, if ``parts`` does not divide the width of the items' or users' vectors.

    Reference: CTRL (Li et al. 2023), its cross-modal knowledge alignment with fine-grained similarity. The paper is about click
    prediction, where a sample is one row of features and the text made of it; here a sample is an item, and a user. Differs:
    the M parts are slices (there: M linear maps of each side, which would stand between what is aligned and what is tuned
    afterwards), compared by cosines.
    """

    extent = "users"
    needs = frozenset({"distinct_items"})
    reads = frozenset({"id", "text"})

    def __init__(
        self, weight: Weight, parts: Count = 4, temperature: Temperature = 0.1, max_items: Pair | None = 512
    ) -> None:
        super().__init__(weight)
        self.parts = parts
        self.temperature = temperature
        self.max_items = max_items

    def forward(self, step: LossContext) -> Float[Tensor, ""]:
        items = step.items.inputs(compared_items(step, "items", max_items=self.max_items))
        histories = step.batch["items"][step.batch["state_rows"]]
        read = (real(histories) & (histories != step.mask_token))[..., None]
        texts = (step.items.inputs(histories)["text"] * read).sum(1) / read.sum(1).clamp(min=1)
        return (self.contrast(items["id"], items["text"]) + self.contrast(step.user_states(), texts)) / 2

    def contrast(self, a: Float[Tensor, "M D"], b: Float[Tensor, "M D"]) -> Float[Tensor, ""]:
        """Cross-entropy of row i of one side against all rows of the other, both ways; 0 for M = 0."""
        if not len(a):
            return a.new_zeros(())
        scores = self.similarities(a, b) / self.temperature
        diagonal = torch.arange(len(a), device=a.device)
        return (F.cross_entropy(scores, diagonal) + F.cross_entropy(scores.T, diagonal)) / 2

    def similarities(self, a: Float[Tensor, "M D"], b: Float[Tensor, "K D"]) -> Float[Tensor, "M K"]:
        """``1/M sum_m max_n cos(a_m, b_n)`` of all pairs."""
        if a.shape[1] % self.parts:
            raise SettingError(
                f"the cross-modal term has parts={self.parts}, wanted a divisor of the vectors' width, which is {a.shape[1]}; "
                "change parts or dim"
            )
        first, second = (F.normalize(side.unflatten(1, (self.parts, -1)), dim=2) for side in (a, b))
        return torch.einsum("imd,knd->ikmn", first, second).amax(3).mean(2)
