"""Items as a trained vector plus one linear map of their text, which starts at zero."""

from __future__ import annotations

from collections.abc import Collection

import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor, nn

from sage_pl.nn.item_encoders.id import IdEncoder
from sage_pl.nn.item_encoders.item_text import ItemText
from sage_pl.ranges import Count, Width
from sage_pl.types import Views


class ResidualText(IdEncoder):
    """View ``id``: ``v_i = E[i] + W x_i``, the plain ID table plus a linear map of the text vector x_i.

    W starts at zero and draws no random numbers, so the model starts as the plain one of the same seed, to the last bit, and
    the difference at the end is the effect of the text. There is no bias: it would add the same number to every item's
    score. Padding and the mask token have no text; their vectors are those of the table.

    Args:
        n_items: N.
        text: path of an artifact with one vector per item, ``table.npy`` [R, D_text].
        dim: width D of the view and of the scored vector.
        freeze: the text vectors are constants; False trains a copy of them.
        standardise: see :func:`sage_pl.nn.item_encoders.item_text.standardised`.
        sparse: see :class:`sage_pl.nn.item_encoders.id.IdEncoder`; of the table alone, W is dense.

    Raises:
        SettingError: the table does not belong to this data set.

    Reference: UniSRec (Hou et al. 2022), transductive setting, sums text and ID as well. Differs: there the text passes
    a mixture of whitening experts trained beforehand.
    """

    def __init__(
        self,
        n_items: Count,
        text: str,
        dim: Width = 64,
        freeze: bool = True,
        standardise: bool = False,
        sparse: bool = False,
    ) -> None:
        super().__init__(n_items, dim, sparse=sparse)
        self.text = ItemText(text, n_items, freeze, standardise)
        self.weight = nn.Parameter(torch.zeros(dim, self.text.width))

    def views(self, ids: Int[Tensor, "M"], names: Collection[str] | None = None) -> Views:
        return {"id": self.table(ids) + F.linear(self.text(ids), self.weight)}
