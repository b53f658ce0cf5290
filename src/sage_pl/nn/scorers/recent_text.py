"""The text of the last items of a history against that of every item."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from sage_pl.nn.item_encoders.item_text import load_table


class RecentText(nn.Module):
    """``cos(p_u, x_i)`` with ``p_u = sum_p w_p x_(h_p)`` and its standard deviation over the items.

    ``x_i``: the text vector, centred over all items and, with ``width``, reduced to so many main directions; at length 1. A
    vector of zeros, of which nothing is known, stays zero and has no say in centre and directions. Equal texts have equal
    cosines to the last bit, since each distinct vector is multiplied once.

    Args:
        folder: of an artifact with one vector per item, ``table.npy`` [R, T].
        n_items: N.
        width: see above; None: all.

    Shape: ``[b, L] ids, [b, L] weights -> [b, R], [b, 1]``; 0 and 1 for a history without text.
    """

    centre: Tensor  # [T]
    basis: Tensor  # [T, D]
    vectors: Tensor  # [Q, D] the distinct ones, that of padding among them
    row: Tensor  # [R] of each item among them
    covariance: Tensor  # [D, D]

    def __init__(self, folder: str, n_items: int, width: int | None = None) -> None:
        super().__init__()
        table = load_table(folder, n_items)[1:-1].float()
        rows = table[table.any(1)]
        centre = rows.mean(0) if len(rows) else rows.new_zeros(rows.shape[1])
        self.register_buffer("centre", centre, persistent=False)
        self.register_buffer("basis", basis(rows - centre, width), persistent=False)
        self._hold(self.directions(table))

    def append(self, text: Float[Tensor, "M T"]) -> None:
        """Add new items behind the known ones; directions and covariance stay those of the known items."""
        known = self.of(torch.arange(1, len(self.row) - 1, device=self.row.device))
        covariance = self.covariance
        self._hold(torch.cat([known, self.directions(text.to(known))]))
        self.covariance = covariance

    def directions(self, text: Float[Tensor, "M T"]) -> Float[Tensor, "M D"]:
        """Text vectors centred, along the main directions, at length 1; zeros stay zero."""
        return F.normalize((text - self.centre) @ self.basis, dim=1) * text.any(1, keepdim=True)

    def _hold(self, items: Float[Tensor, "N D"]) -> None:
        distinct, row = torch.unique(F.pad(items, (0, 0, 1, 1)), dim=0, return_inverse=True)
        self.register_buffer("vectors", distinct, persistent=False)
        self.register_buffer("row", row, persistent=False)
        self.register_buffer("covariance", torch.cov(items.T.double(), correction=0), persistent=False)

    def of(self, items: Int[Tensor, "*P"]) -> Float[Tensor, "*P D"]:
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


def basis(centred: Float[Tensor, "N T"], width: int | None) -> Float[Tensor, "T D"]:
    """The ``width`` main directions of centred vectors; None, or no fewer than there are: all, as they are."""
    if width is None or width >= centred.shape[1]:
        return torch.eye(centred.shape[1])
    return torch.linalg.eigh(centred.T.double() @ centred.double())[1][:, -width:].float()
