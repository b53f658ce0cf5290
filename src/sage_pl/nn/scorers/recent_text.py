"""The text of the last items of a history against that of every item."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from sage_pl.nn.item_encoders.item_text import load_table


class RecentText(nn.Module):
    """``cos(p_u, x_i)`` with ``p_u = sum_p w_p x_(h_p)`` and its standard deviation over the items.

    ``x_i``: the text vector, centred over all items and, with ``width``, reduced to so many main directions; at length 1. Equal
    texts have equal cosines to the last bit, since each distinct vector is multiplied once.

    Args:
        folder: of an artifact with one vector per item, ``table.npy`` [R, T].
        n_items: N.
        width: see above; None: all.

    Shape: ``[b, L] ids, [b, L] weights -> [b, R], [b, 1]``; 0 and 1 for a history without text.
    """

    vectors: Tensor  # [Q, T] the distinct ones
    row: Tensor  # [R] of each item among them
    covariance: Tensor  # [T, T]

    def __init__(self, folder: str, n_items: int, width: int | None = None) -> None:
        super().__init__()
        items = directions(load_table(folder, n_items), width)
        distinct, row = torch.unique(items, dim=0, return_inverse=True)
        self.register_buffer("vectors", distinct, persistent=False)
        self.register_buffer("row", row, persistent=False)
        self.register_buffer("covariance", torch.cov(items[1:-1].T.double(), correction=0), persistent=False)

    def of(self, items: Int[Tensor, "*P"]) -> Float[Tensor, "*P T"]:
        """The vectors of some items."""
        return self.vectors[self.row[items]]

    def forward(
        self, items: Int[Tensor, "b L"], weights: Float[Tensor, "b L"]
    ) -> tuple[Float[Tensor, "b R"], Float[Tensor, "b 1"]]:
        read = self.of(items)
        profile = F.normalize(torch.einsum("bl,blt->bt", weights.to(read.dtype), read), dim=1)
        deviation = ((profile.double() @ self.covariance.double()) * profile).sum(1, keepdim=True).clamp(min=0).sqrt()
        cosines = (profile @ self.vectors.T).index_select(1, self.row)
        return cosines.to(weights.dtype), deviation.where(deviation > 0, 1.0).to(weights.dtype)


def directions(table: Float[Tensor, "R T"], width: int | None) -> Float[Tensor, "R D"]:
    """Vectors centred over the items, with ``width`` reduced to their main directions, at length 1; rows 0 and N + 1 are 0."""
    items = table[1:-1].float()
    items = items - items.mean(0)
    if width is not None and width < items.shape[1]:
        _, vectors = torch.linalg.eigh(items.T.double() @ items.double())
        items = items @ vectors[:, -width:].to(items.dtype)
    return F.pad(F.normalize(items, dim=1), (0, 0, 1, 1))
