"""Items as their text alone: adapted text vectors, without a vector of their own per item."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sage_pl.errors import SettingError
from sage_pl.nn.item_encoders.adapter import Adapter
from sage_pl.nn.item_encoders.item_text import ItemText
from sage_pl.ranges import Count, Width
from sage_pl.types import Views


class TextEncoder(nn.Module):
    """View ``text``: an adapter over text vectors, both read and scored.

    ``v_i = A(E_text[i])`` for real items. The mask token has no text: its view is a learned vector, N(0, 0.01²).

    Args:
        n_items: N.
        text: path of an artifact with one vector per item, ``table.npy`` [R, D_text].
        dim: width D of the view and of the scored vector.
        adapter: called with D_text and ``dim``, gives a module that maps the one to the other (a node with
            ``_partial_: true``); None for :class:`sage_pl.nn.item_encoders.adapter.Adapter`.
        freeze: the text vectors are constants, which a checkpoint names by their artifact instead of containing them; False
            trains a copy of them together with the adapter.
        standardise: see :func:`sage_pl.nn.item_encoders.item_text.standardised`. Most text encoders' vectors have length 1
            already; whitened components are far longer, and so would be the first scores.

    Raises:
        SettingError: the table does not belong to this data set, or the adapter gives another width than ``dim``.

    Reference: LLMEmb, equation 6 (its adapter; "w/o freeze" is ``freeze=False``). Differs: the padding row has no influence
    (masked everywhere).
    """

    def __init__(
        self,
        n_items: Count,
        text: str,
        dim: Width = 64,
        adapter: Callable[[int, int], nn.Module] | None = None,
        freeze: bool = True,
        standardise: bool = False,
    ) -> None:
        super().__init__()
        self.n_items = n_items
        self.input_dims: Mapping[str, int] = {"text": dim}
        self.output_dim = dim
        self.text = ItemText(text, n_items, freeze, standardise)
        self.adapter = (adapter or Adapter)(self.text.width, dim)
        self.mask_view = nn.Parameter(torch.empty(dim).normal_(std=0.01))  # LLMEmb's reference code
        width = _output_width(self.adapter, self.text(torch.zeros(1, dtype=torch.long)))
        if width != dim:
            raise SettingError(
                f"{type(self.adapter).__name__} maps text of width {self.text.width} to {width}, item_encoder.dim is {dim}; "
                "set dim to that width or take an adapter that changes it (item_encoder.adapter)"
            )

    def views(self, ids: Int[Tensor, "M"], names: Collection[str] | None = None) -> Views:
        text = self.adapter(self.text(ids))
        return {"text": torch.where((ids == self.n_items + 1)[:, None], self.mask_view, text)}

    def output(self, views: Views) -> Float[Tensor, "*P E"]:
        return views["text"]


@torch.no_grad()
def _output_width(adapter: nn.Module, text: Float[Tensor, "1 D"]) -> int:
    """Width of an adapter's output; its running statistics stay unchanged."""
    width = adapter.eval()(text).shape[-1]
    adapter.train()
    return width
