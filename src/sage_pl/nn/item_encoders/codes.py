"""Items as the sum of their codes' vectors."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sage_pl.errors import SettingError
from sage_pl.nn.item_encoders.adapter import Adapter
from sage_pl.nn.item_encoders.code_embedding import CodeEmbedding
from sage_pl.nn.item_encoders.item_text import ItemText
from sage_pl.ranges import Count, Width
from sage_pl.types import Views


class CodeEncoder(nn.Module):
    """``v_i = sum_t E_t[c_{i,t}] (+ E_id[i]) (+ g(x_i))``: each item is a sum of few vectors that all items share.

    Views: ``item`` is v_i; ``codes`` the sum over the codes alone; ``tokens`` the same vectors one after another [T D];
    ``text`` is ``g(x_i)``, adapted frozen text. The mask token is a learned vector, N(0, 0.02²), in every view but ``text``.

    Args:
        n_items: N.
        tokens: path of the ``tokens`` artifact, see :class:`CodeEmbedding`.
        dim: width D.
        text: path of an artifact with one text vector per item, ``table.npy`` [R, D_text]; None for no view ``text``.
        adapter: called with D_text and ``dim``, gives g; None for two affine layers.
        add_text: add ``g(x_i)`` to v_i.
        add_id: add a trained vector per item to v_i, N(0, 0.02²). It distinguishes the items of a history from others with
            similar codes; recommendations stay strings of codes.

    Raises:
        SettingError: an artifact does not belong to this data set, or ``add_text`` is set without text.
    """

    READ_WITH: ClassVar = {"adapter": ("text", bool)}

    def __init__(
        self,
        n_items: Count,
        tokens: str,
        dim: Width = 64,
        text: str | None = None,
        adapter: Callable[[int, int], nn.Module] | None = None,
        add_text: bool = False,
        add_id: bool = False,
    ) -> None:
        super().__init__()
        if add_text and text is None:
            raise SettingError("item_encoder.add_text needs text vectors: set item_encoder.text='${artifacts.embed}'")
        self.n_items = n_items
        self.codes = CodeEmbedding(tokens, n_items, dim)
        self.input_dims: Mapping[str, int] = {"item": dim, "codes": dim, "tokens": self.codes.levels * dim}
        self.output_dim = dim
        self.mask_view = nn.Parameter(torch.empty(dim).normal_(std=0.02))
        self.add_text = add_text
        self.own = nn.Embedding(n_items + 2, dim, padding_idx=0) if add_id else None
        if self.own is not None:
            nn.init.normal_(self.own.weight[1:], std=0.02)
        if text is not None:
            self.input_dims |= {"text": dim}
            self.text = ItemText(text, n_items, freeze=True)
            self.adapter = (adapter or Adapter)(self.text.width, dim)

    def share(self, codes: CodeEmbedding) -> None:
        """Use another part's codes and vectors.

        Raises:
            SettingError: they have other codes or another width.
        """
        if codes.weight.shape != self.codes.weight.shape or not torch.equal(codes.codes, self.codes.codes):
            raise SettingError(
                f"items are read as codes {list(self.codes.weight.shape)} and decoded as {list(codes.weight.shape)} "
                "(codes, width), or from different artifacts; give item_encoder and decoder the same tokens and dim"
            )
        self.codes = codes

    def views(self, ids: Int[Tensor, "M"], names: Collection[str] | None = None) -> Views:
        vectors = self.codes(ids) + (ids == self.n_items + 1)[:, None, None] * self.mask_view / self.codes.levels
        views = {"codes": vectors.sum(1), "tokens": vectors.flatten(1)}
        if "text" in self.input_dims and (names is None or "text" in names or self.add_text):
            views["text"] = self.adapter(self.text(ids))
        item = views["codes"] if self.own is None else views["codes"] + self.own(ids)
        views["item"] = item + views["text"] if self.add_text else item
        return views

    def output(self, views: Views) -> Float[Tensor, "*P E"]:
        return views["item"]
