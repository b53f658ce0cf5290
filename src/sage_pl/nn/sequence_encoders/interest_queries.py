"""Queries of a user's interests: vectors of their texts, or learned ones."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sage_pl.nn.sequence_encoders.user_interests import UserInterests
from sage_pl.ranges import Count, Width


class Queries(NamedTuple):
    """Queries of every user, and the mask of those that are no padding; the first never is."""

    vectors: Float[Tensor, "B K D"]
    mask: Bool[Tensor, "B K"]


class TextQueries(nn.Module):
    """``q_k = W LN(g_k) + b`` of the frozen vectors ``g_1 .. g_(K_u)`` of a user's interests.

    A user without interests has one learned query instead, as has an unknown user: one without an id, or with an id above U. It
    starts near zero, where it asks for the mean of the history, and stays there if every user has interests.
    A user's queries do not depend on the rest of the batch.

    Args:
        interests, n_users: see :class:`sage_pl.nn.sequence_encoders.user_interests.UserInterests`.
        dim: width D of a query.

    Raises:
        SettingError: the interests belong to another number of users.

    Reference: SAM. Differs: its code pads to the largest number in the batch, with rows that take part (docs/methods/sam.md).
    """

    def __init__(self, interests: str, n_users: Count, dim: Width = 64) -> None:
        super().__init__()
        self.interests = UserInterests(interests, n_users)
        width = self.interests.values.shape[1]
        self.norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, dim)
        self.nobody = nn.Parameter(torch.empty(dim))  # query of an unknown user; named so in checkpoints
        nn.init.xavier_normal_(self.project.weight)
        nn.init.normal_(self.nobody, std=0.02)

    def forward(self, users: Int[Tensor, "B"] | None, n: int) -> Queries:
        """Queries of ``n`` users."""
        unknown_user = self.nobody
        users = self.interests.offsets.new_zeros(n) if users is None else users
        texts, mask = self.interests(users)
        queries = self.project(self.norm(texts.to(unknown_user.dtype)))
        first = torch.arange(mask.shape[1], device=mask.device) == 0
        return Queries(torch.where(mask[..., None], queries, unknown_user), mask | first)


class LearnedQueries(nn.Module):
    """The same ``count`` learned queries for every user: SAM without text.

    Args:
        count: K.
        dim: width D of a query.
    """

    def __init__(self, count: Count = 4, dim: Width = 64) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.empty(count, dim))
        nn.init.normal_(self.queries, std=dim**-0.5)

    def forward(self, users: Int[Tensor, "B"] | None, n: int) -> Queries:
        """Queries of ``n`` users."""
        queries = self.queries.expand(n, *self.queries.shape)
        return Queries(queries, torch.ones(queries.shape[:2], dtype=torch.bool, device=queries.device))
