"""Items as their text alone: adapted text vectors, without a vector of their own per item."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sage_pl.errors import SettingError
from sage_pl.nn.item_encoders.adapter import Adapter
from sage_pl.nn.item_encoders.vectors import ItemText
from sage_pl.types import Views


class TextEncoder(nn.Module):
    """View ``text``: an adapter over text vectors; it is what is read and what is scored.

    ``v_i = A(E_text[i])`` for real items. The mask token has no text: its view is a learned vector, N(0, 0.01²).

    Args:
        n_items: N.
        text: path of an artifact with one vector per item, ``table.npy`` [R, D_text].
        dim: width D of the view and of the scored vector.
        adapter: called with D_text and ``dim``, gives a module that maps the one to the other (a node with
            ``_partial_: true``); None for two affine layers (:class:`sage_pl.nn.item_encoders.adapter.Adapter`).
        freeze: keep the text vectors as they are; they are then no part of the checkpoint, which names their artifact
            instead. False trains a copy of them together with the adapter.
        standardise: subtract the items' mean vector and divide by one number that makes the mean squared length 1, that of
            most text encoders' vectors; whitened components are far longer, and first scores would be too.

    Raises:
        SettingError: the table does not belong to this data set, or the adapter gives another width than ``dim``.

    Reference: LLMEmb, equation 6 (its adapter; "w/o freeze" is ``freeze=False``). Differs: the padding row has no influence
    (masked everywhere).
    """

    def __init__(
        self,
        n_items: int,
        text: str,
        dim: int = 64,
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
    """Width of what an adapter makes, without a trace in its running statistics."""
    width = adapter.eval()(text).shape[-1]
    adapter.train()
    return width
