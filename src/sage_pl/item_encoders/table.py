"""The items of one step, each encoded once, whatever the number of sequences they occur in."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from sage_pl.types import ItemEncoder, Views


class EncodedItems:
    """Looks up vectors of items that were encoded once for the whole step.

    Args:
        encoder: the item encoder.
        ids: the distinct ids needed, ascending; None encodes the whole catalogue (rows 0..N + 1), which losses over
            all items need anyway.
    """

    def __init__(self, encoder: ItemEncoder, ids: Int[Tensor, "M"] | None, device: torch.device) -> None:
        self._encoder = encoder
        self._ids = ids
        rows = torch.arange(encoder.n_items + 2, device=device) if ids is None else ids
        self._views = encoder.views(rows)
        self._device = device

    @classmethod
    def of(cls, encoder: ItemEncoder, id_tensors: Iterable[Int[Tensor, "..."]], device: torch.device) -> EncodedItems:
        """Encode just the ids that occur in the given tensors."""
        return cls(encoder, torch.unique(torch.cat([t.reshape(-1) for t in id_tensors])), device)

    def inputs(self, ids: Int[Tensor, "*P"]) -> Views:
        """What a sequence reads of each item, per view [*P, D]."""
        rows = ids if self._ids is None else torch.searchsorted(self._ids, ids.contiguous())
        return {name: F.embedding(rows, view) for name, view in self._views.items()}

    def outputs(self, ids: Int[Tensor, "*P"]) -> Float[Tensor, "*P E"]:
        """What is scored of each item."""
        return self._encoder.output(self.inputs(ids))

    def all_outputs(self) -> Float[Tensor, "R E"]:
        """The scored vectors of the whole catalogue; only where the whole catalogue was encoded."""
        if self._ids is not None:
            raise RuntimeError("this step encoded single items; a term that reads every item must set catalogue = True")
        return self._encoder.output(self._views)

    def whole(self, view: str) -> Float[Tensor, "R D"]:
        """One view of the whole catalogue; where single items were encoded it is made here, and nothing but it."""
        if self._ids is None:
            return self._views[view]
        rows = torch.arange(self._encoder.n_items + 2, device=self._device)
        return self._encoder.views(rows, {view})[view]
