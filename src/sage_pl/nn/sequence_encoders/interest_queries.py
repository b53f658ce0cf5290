"""What the interests of a user ask a sequence for: vectors of their texts, or learned ones."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sage_pl.errors import SettingError


class Queries(NamedTuple):
    """Queries of every user, and which of them there are; the first always is one."""

    vectors: Float[Tensor, "B K D"]
    mask: Bool[Tensor, "B K"]


class TextQueries(nn.Module):
    """``q_k = W LN(g_k) + b`` of the frozen vectors ``g_1 .. g_(K_u)`` of a user's interests.

    A user without interests has one learned query instead; so does one who is not known (no id is given, or none that
    interests were made for). Nothing depends on who else is in the batch.

    Args:
        interests: path of the ``interests`` artifact.
        n_users: U.
        dim: width D of a query.

    Raises:
        SettingError: the interests belong to another number of users.

    Reference: SAM. Its code pads with rows that take part, up to the largest number in the batch; docs/methods.md.
    """

    def __init__(self, interests: str, n_users: int, dim: int = 64) -> None:
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
        self.register_buffer(
            "values", values if len(values) else values.new_zeros(1, values.shape[1]), persistent=False
        )
        self.register_buffer("offsets", offsets, persistent=False)
        self.count = max(int(offsets.diff().max()), 1)
        self.norm = nn.LayerNorm(values.shape[1])
        self.project = nn.Linear(values.shape[1], dim)
        self.nobody = nn.Parameter(torch.empty(dim))
        nn.init.xavier_normal_(self.project.weight)
        nn.init.normal_(self.nobody, std=0.02)

    def forward(self, users: Int[Tensor, "B"] | None, n: int) -> Queries:
        """Queries of ``n`` users."""
        known = self.offsets.new_zeros(n) if users is None else users.where(users < len(self.offsets) - 1, 0)
        rows = self.offsets[known][:, None] + torch.arange(self.count, device=known.device)
        mask = rows < self.offsets[known + 1][:, None]
        texts = self.values[rows.where(mask, 0)].to(self.nobody.dtype)
        queries = torch.where(mask[..., None], self.project(self.norm(texts)), self.nobody)
        first = torch.arange(self.count, device=known.device) == 0
        return Queries(queries, mask | first)


class LearnedQueries(nn.Module):
    """The same ``count`` learned queries for everybody: SAM without text.

    Args:
        count: K.
        dim: width D of a query.
    """

    def __init__(self, count: int = 4, dim: int = 64) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.empty(count, dim))
        nn.init.normal_(self.queries, std=dim**-0.5)

    def forward(self, users: Int[Tensor, "B"] | None, n: int) -> Queries:
        """Queries of ``n`` users."""
        queries = self.queries.expand(n, *self.queries.shape)
        return Queries(queries, torch.ones(queries.shape[:2], dtype=torch.bool, device=queries.device))
