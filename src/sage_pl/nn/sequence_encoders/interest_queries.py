"""Queries of a user's interests: vectors of their texts, or learned ones."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sage_pl.errors import SettingError
from sage_pl.ranges import Count, Width


class Queries(NamedTuple):
    """Queries of every user, and the mask of those that are no padding; the first never is."""

    vectors: Float[Tensor, "B K D"]
    mask: Bool[Tensor, "B K"]


class TextQueries(nn.Module):
    """``q_k = W LN(g_k) + b`` of the frozen vectors ``g_1 .. g_(K_u)`` of a user's interests.

    A user without interests has one learned query instead, as has an unknown user: one without an id, or with an id above U.
    A user's queries do not depend on the rest of the batch.

    Args:
        interests: path of the ``interests`` artifact.
        n_users: U.
        dim: width D of a query.

    Raises:
        SettingError: the interests belong to another number of users.

    Reference: SAM. Differs: its code pads to the largest number in the batch, with rows that take part (docs/methods.md).
    """

    def __init__(self, interests: str, n_users: Count, dim: Width = 64) -> None:
        super().__init__()
        offsets = torch.from_numpy(np.load(Path(interests) / "offsets.npy", allow_pickle=False))
        if len(offsets) != n_users + 2:
            raise SettingError(
                f"{interests} holds interests of {len(offsets) - 2} users, wanted {n_users}; "
                "run scripts/prepare.py for this data set"
            )
        values = torch.from_numpy(np.load(Path(interests) / "values.npy", mmap_mode="c", allow_pickle=False))
        self.values: Tensor
        self.offsets: Tensor
        values = values if len(values) else values.new_zeros(1, values.shape[1])
        self.register_buffer("values", values, persistent=False)
        self.register_buffer("offsets", offsets, persistent=False)
        self.count = max(int(offsets.diff().max()), 1)
        self.norm = nn.LayerNorm(values.shape[1])
        self.project = nn.Linear(values.shape[1], dim)
        self.nobody = nn.Parameter(torch.empty(dim))  # query of an unknown user; named so in checkpoints
        nn.init.xavier_normal_(self.project.weight)
        nn.init.normal_(self.nobody, std=0.02)

    def forward(self, users: Int[Tensor, "B"] | None, n: int) -> Queries:
        """Queries of ``n`` users."""
        unknown_user, place = self.nobody, torch.arange(self.count, device=self.offsets.device)
        users = self.offsets.new_zeros(n) if users is None else users.where(users < len(self.offsets) - 1, 0)
        rows = self.offsets[users][:, None] + place
        mask = rows < self.offsets[users + 1][:, None]
        texts = self.values[rows.where(mask, 0)].to(unknown_user.dtype)
        queries = torch.where(mask[..., None], self.project(self.norm(texts)), unknown_user)
        return Queries(queries, mask | (place == 0))


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
