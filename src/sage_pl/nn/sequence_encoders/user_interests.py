"""The described interests of every user, as vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sage_pl.errors import SettingError
from sage_pl.ranges import Count


class UserInterests(nn.Module):
    """The frozen vectors ``g_1 .. g_(K_u)`` of each user's interests, and the mask of those that are no padding.

    They are made of training events, and stay those after later ones. An unknown user (one without an id, or with an id above
    U) has none.

    Args:
        interests: path of the ``interests`` artifact.
        n_users: U.

    Attributes:
        count: K, the most interests of a user, at least 1.

    Shape: users [B] -> [B, K, T], [B, K].

    Raises:
        SettingError: the interests belong to another number of users.
    """

    values: Tensor  # [M, T]
    offsets: Tensor  # [U + 2]

    def __init__(self, interests: str, n_users: Count) -> None:
        super().__init__()
        offsets = torch.from_numpy(np.load(Path(interests) / "offsets.npy", allow_pickle=False))
        if len(offsets) != n_users + 2:
            raise SettingError(
                f"{interests} holds interests of {len(offsets) - 2} users, wanted {n_users}; "
                "run scripts/prepare.py for this data set"
            )
        values = torch.from_numpy(np.load(Path(interests) / "values.npy", mmap_mode="c", allow_pickle=False))
        values = values if len(values) else values.new_zeros(1, values.shape[1])
        self.register_buffer("values", values, persistent=False)
        self.register_buffer("offsets", offsets, persistent=False)
        self.count = max(int(offsets.diff().max()), 1)

    def forward(self, users: Int[Tensor, "B"]) -> tuple[Float[Tensor, "B K T"], Bool[Tensor, "B K"]]:
        users = users.where(users < len(self.offsets) - 1, 0)
        rows = self.offsets[users][:, None] + torch.arange(self.count, device=self.offsets.device)
        mask = rows < self.offsets[users + 1][:, None]
        return self.values[rows.where(mask, 0)], mask
