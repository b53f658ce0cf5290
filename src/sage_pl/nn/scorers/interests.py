"""A user's described interests matched with the candidates' texts when items are ranked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sage_pl.errors import SettingError
from sage_pl.nn.scorers.recent_text import RecentText
from sage_pl.nn.sequence_encoders.user_interests import UserInterests
from sage_pl.ranges import Count, Signed
from sage_pl.types import Case


class InterestMatch(nn.Module):
    """``score(u, i) = L(u, i) + weight * max_k cos(g_k, x_i)`` with a user's interests ``g_k`` and the items' texts x.

    Both are centred by the mean of the items' texts. An unknown user, and one without interests, keeps the model's scores.
    Validation includes the match, so the best epoch is chosen with it; losses do not.

    Args:
        n_items: N.
        n_users: U.
        text: path of an artifact with one vector per item, ``table.npy`` [R, T].
        interests: path of the ``interests`` artifact, encoded as the items' texts are.
        weight: of the cosine beside the model's score; 0 ranks as without.

    Shape: ``[B, R], [B, L], [B] -> [B, R]``.

    Raises:
        SettingError: an artifact belongs to another data set, or interests and texts are of different widths.
    """

    chosen: ClassVar[bool] = True
    cases: ClassVar[int] = 0

    def __init__(self, n_items: Count, n_users: Count, text: str, interests: str, weight: Signed) -> None:
        super().__init__()
        self.weight = weight
        self.text = RecentText(text, n_items)
        self.interests = UserInterests(interests, n_users)
        widths = self.interests.values.shape[1], len(self.text.centre)
        if widths[0] != widths[1]:
            raise SettingError(
                f"interests are {widths[0]} wide and the items' texts {widths[1]}, so they cannot be compared; encode both by "
                "one embedder of texts, such as embedder=minilm, or leave the match out with scorer=none"
            )

    def forward(
        self, scores: Float[Tensor, "B R"], items: Int[Tensor, "B L"], users: Int[Tensor, "B"] | None = None
    ) -> Float[Tensor, "B R"]:
        if users is None:
            return scores
        vectors, mask = self.interests(users)
        texts = self.text.vectors
        nearest = texts.new_zeros(len(users), len(texts))
        for place in range(mask.shape[1]):
            # the users who have so many interests alone, since most have one or two
            rows = mask[:, place].nonzero()[:, 0]
            cosines = self.text.directions(vectors[rows, place].to(texts.dtype)) @ texts.T
            nearest[rows] = torch.maximum(nearest[rows], cosines) if place else cosines
        return scores + self.weight * nearest.index_select(1, self.text.row).to(scores.dtype)

    def append(self, text: Float[Tensor, "M T"]) -> None:
        """Add new items by their text vectors."""
        self.text.append(text)

    def choose(self, cases: Callable[[], Iterator[Case]]) -> None:
        """Nothing is left to choose: ``weight`` is a setting."""
