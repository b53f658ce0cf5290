"""Items in two views: a trained ID table that starts from reduced text vectors, and adapted frozen text."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sage_pl.nn.item_encoders.adapter import Adapter
from sage_pl.nn.item_encoders.item_text import ItemText, load_start
from sage_pl.ranges import Count, Width
from sage_pl.types import Views


class DualEncoder(nn.Module):
    """View ``id``: a trained table; view ``text``: an adapter over frozen text vectors; the scored vector is both,
    concatenated.

    ``v_i = [E_id[i] ; A(E_text[i])]``, so the score ``<u, v_i>`` is a collaborative plus a semantic score. The mask token has
    no text: its view ``text`` is the adapter's constant A(0), as in the reference, and its view ``id`` is trained.

    Args:
        n_items: N.
        text: path of the ``embed`` artifact, the text vectors [R, D_text].
        init: path of the ``reduce`` artifact, the ID table's start [R, dim]; None starts it from N(0, 0.02²).
        dim: width D of each view.
        adapter: called with D_text and ``dim``, gives a module that maps the one to the other; None for
            :class:`sage_pl.nn.item_encoders.adapter.Adapter`.
        freeze: the text vectors are constants, which a checkpoint names by their artifact instead of containing them.
        sparse: see :class:`sage_pl.nn.item_encoders.id.IdEncoder`; of the ID table alone.
        standardise: see :func:`sage_pl.nn.item_encoders.item_text.standardised`. Vectors of a text encoder share a direction,
            which is most of their length and tells no item from another.

    Reference: LLM-ESR, section 3.2; SAGE code line (docs/deviations.md). Differs: the padding row has no influence (masked
    everywhere).
    """

    def __init__(
        self,
        n_items: Count,
        text: str,
        init: str | None,
        dim: Width = 64,
        adapter: Callable[[int, int], nn.Module] | None = None,
        freeze: bool = True,
        sparse: bool = False,
        standardise: bool = False,
    ) -> None:
        super().__init__()
        self.n_items = n_items
        self.input_dims: Mapping[str, int] = {"id": dim, "text": dim}
        self.output_dim = 2 * dim
        self.table = nn.Embedding(n_items + 2, dim, padding_idx=0, sparse=sparse)
        if init is None:
            nn.init.normal_(self.table.weight, std=0.02)
            nn.init.zeros_(self.table.weight[0])
        else:
            self.table.weight.data.copy_(load_start(init, n_items, dim))
        self.text = ItemText(text, n_items, freeze, standardise)
        self.adapter = (adapter or Adapter)(self.text.width, dim)

    def views(self, ids: Int[Tensor, "M"], names: Collection[str] | None = None) -> Views:
        views = {"id": self.table(ids)} if names is None or "id" in names else {}
        if names is None or "text" in names:
            views["text"] = self.adapter(self.text(ids))
        return views

    def output(self, views: Views) -> Float[Tensor, "*P E"]:
        return torch.cat([views["id"], views["text"]], dim=-1)
