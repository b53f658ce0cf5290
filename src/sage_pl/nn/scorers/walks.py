"""Where the rows of a matrix of items lead from those of a history."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sage_pl.errors import SettingError

_STEEPNESS = 200.0  # log(1 + 200 w) is steep where walks are rare and flat where they are sure


class Walks(nn.Module):
    """``log(1 + 200 sum_p w_p W[h_p, i])``, the weights w normalised to sum 1.

    Args:
        folder: of an artifact with a matrix W and the training events of every item, ``transitions``
            (:class:`sage_pl.data.transitions.Transitions`) or ``relations`` (:class:`sage_pl.data.relations.Relations`).
        n_items: N.
        matrix: W's name in an artifact that has several.

    Shape: ``[b, L] ids, [b, L] weights -> [b, R]``.

    Raises:
        SettingError: the artifact belongs to another data set.
    """

    offsets: Tensor  # [R + 1]
    items: Tensor
    values: Tensor
    counts: Tensor  # [R] training events

    def __init__(self, folder: str, n_items: int, matrix: str = "") -> None:
        super().__init__()
        prefix = f"{matrix}_" if matrix else ""
        for name, file in [*((name, prefix + name) for name in ("offsets", "items", "values")), ("counts", "counts")]:
            array = np.load(Path(folder) / f"{file}.npy", allow_pickle=False)
            self.register_buffer(name, torch.from_numpy(array), persistent=False)
        if len(self.counts) != n_items + 2:
            raise SettingError(f"{folder} has {len(self.counts)} items, wanted {n_items + 2} (N + 2) for this data set")

    def append(self, count: int) -> None:
        """Add so many items that follow nothing and nothing follows; the mask token's row stays the last one."""
        mask = len(self.counts) - 1
        self.offsets = torch.cat([self.offsets[:-1], self.offsets[-1:].expand(count + 1)])
        self.counts = torch.cat([self.counts[:mask], self.counts.new_zeros(count), self.counts[mask:]])

    def forward(self, items: Int[Tensor, "b L"], weights: Float[Tensor, "b L"]) -> Float[Tensor, "b R"]:
        shares = weights / weights.sum(1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)
        user, place = (shares > 0).nonzero(as_tuple=True)
        item, share = items[user, place], shares[user, place]
        starts, lengths = self.offsets[item], self.offsets[item + 1] - self.offsets[item]
        shifts = starts - (lengths.cumsum(0) - lengths)
        at = torch.arange(int(lengths.sum()), device=items.device) + shifts.repeat_interleave(lengths)
        size = len(self.counts)
        cells = (user * size).repeat_interleave(lengths) + self.items[at]
        walk = weights.new_zeros(len(items) * size)
        walk.index_add_(0, cells, share.repeat_interleave(lengths) * self.values[at].to(walk.dtype))
        return walk.mul_(_STEEPNESS).log1p_().view(len(items), size)
