"""Items as a trained vector, with adapted text that losses alone read."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from jaxtyping import Int
from torch import Tensor, nn

from sage_pl.nn.item_encoders.adapter import Adapter
from sage_pl.nn.item_encoders.id import IdEncoder
from sage_pl.nn.item_encoders.item_text import ItemText
from sage_pl.ranges import Count, Width
from sage_pl.types import Views


class IdBesideText(IdEncoder):
    """Views ``id`` (a trained table, read and scored) and ``text`` (``A(x_i)`` of frozen text), which no score contains.

    Losses compare the two; the model that remains is :class:`sage_pl.nn.item_encoders.id.IdEncoder`.

    Args:
        n_items: N.
        text: path of an artifact with one vector per item, ``table.npy`` [R, D_text].
        dim: width D of both views.
        adapter: A, called with D_text and ``dim``; None for :class:`sage_pl.nn.item_encoders.adapter.Adapter`.
        standardise: see :func:`sage_pl.nn.item_encoders.item_text.standardised`.
        sparse: see :class:`sage_pl.nn.item_encoders.id.IdEncoder`.

    Raises:
        SettingError: the table does not belong to this data set.
    """

    def __init__(
        self,
        n_items: Count,
        text: str,
        dim: Width = 64,
        adapter: Callable[[int, int], nn.Module] | None = None,
        standardise: bool = True,
        sparse: bool = False,
    ) -> None:
        super().__init__(n_items, dim, sparse=sparse)
        self.input_dims: Mapping[str, int] = {"id": dim, "text": dim}
        self.text = ItemText(text, n_items, standardise=standardise)
        self.adapter = (adapter or Adapter)(self.text.width, dim)

    def views(self, ids: Int[Tensor, "M"], names: Collection[str] | None = None) -> Views:
        views = {"id": self.table(ids)}
        return views if names is not None and "text" not in names else {**views, "text": self.adapter(self.text(ids))}
