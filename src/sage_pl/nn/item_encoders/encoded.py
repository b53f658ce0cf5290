"""Encoded items: those of one step, each once, and those of the whole catalogue, block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from sage_pl.nn.item_encoders.item_text import every_row
from sage_pl.types import ItemEncoder, Views

_BLOCK = 8192  # items encoded at a time


class EncodedItems:
    """Looks up vectors of items that were encoded once for the whole step.

    Args:
        encoder: the item encoder.
        ids: the distinct ids, ascending; None for the whole catalogue (rows 0..N + 1), for losses over all items.
    """

    def __init__(self, encoder: ItemEncoder, ids: Int[Tensor, "M"] | None, device: torch.device) -> None:
        self._encoder = encoder
        self._ids = ids
        self._views = encoder.views(every_row(encoder.n_items + 2, device) if ids is None else ids)
        self._device = device

    @classmethod
    def of(cls, encoder: ItemEncoder, id_tensors: Iterable[Int[Tensor, "..."]], device: torch.device) -> EncodedItems:
        """Encode the ids that occur in ``id_tensors``."""
        return cls(encoder, torch.unique(torch.cat([t.reshape(-1) for t in id_tensors])), device)

    def inputs(self, ids: Int[Tensor, "*P"]) -> Views:
        """Views of the items, as a sequence reads them, each ``[*P, D]``."""
        rows = ids if self._ids is None else torch.searchsorted(self._ids, ids.contiguous())
        return {name: F.embedding(rows, view) for name, view in self._views.items()}

    def outputs(self, ids: Int[Tensor, "*P"]) -> Float[Tensor, "*P E"]:
        """The scored vectors of the items."""
        return self._encoder.output(self.inputs(ids))

    def all_outputs(self) -> Float[Tensor, "R E"]:
        """The scored vectors of the whole catalogue, which must have been encoded."""
        if self._ids is not None:
            raise RuntimeError("this step encoded single items; a term that reads every item must set catalogue = True")
        return self._encoder.output(self._views)

    def whole(self, view: str) -> Float[Tensor, "R D"]:
        """One view of the whole catalogue; computed here, it alone, where single items were encoded."""
        if self._ids is None:
            return self._views[view]
        return self._encoder.views(every_row(self._encoder.n_items + 2, self._device), {view})[view]


def views_beside_output(encoder: ItemEncoder, device: torch.device) -> list[str]:
    """Names of the views other than the scored vector itself."""
    with torch.no_grad():
        views = encoder.views(torch.ones(1, dtype=torch.long, device=device))
        scored = encoder.output(views)
    return [name for name in encoder.input_dims if views[name] is not scored]


class ItemVectors:
    """Vectors of every item [R, E], computed on access, at most a block at a time.

    Indexed like a tensor: ``vectors[:]``, ``vectors[1:9]``, or ``vectors[ids]`` with ids of any shape. Blocks are padded to one
    size, so a row is the same to the last bit in every access, and equal items tie.

    Args:
        make: vectors of items [M] -> [M, E]; runs without autograd and autocast.
        n_rows: R.
        device: of the ids.
    """

    def __init__(
        self, make: Callable[[Int[Tensor, "M"]], Float[Tensor, "M E"]], n_rows: int, device: torch.device
    ) -> None:
        self._make = make
        self._device = device
        self._block = -(-n_rows // -(-n_rows // _BLOCK))
        self._row = self._encode(torch.zeros(1, dtype=torch.long, device=device))
        self.shape = (n_rows, self._row.shape[1])
        self.nbytes = n_rows * self._row.nbytes

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | Int[Tensor, "*P"]) -> Float[Tensor, "*P E"]:
        ids = torch.arange(*rows.indices(len(self)), device=self._device) if isinstance(rows, slice) else rows
        vectors = self._row.new_empty(ids.numel(), self.shape[1])
        for block, part in zip(vectors.split(self._block), ids.reshape(-1).split(self._block), strict=True):
            block.copy_(self._encode(part))
        return vectors.view(*ids.shape, self.shape[1])

    @torch.no_grad()
    def _encode(self, ids: Int[Tensor, "M"]) -> Float[Tensor, "M E"]:
        with torch.autocast(self._device.type, enabled=False):
            return self._make(F.pad(ids, (0, self._block - len(ids))))[: len(ids)]


def view_vectors(encoder: ItemEncoder, name: str, device: torch.device) -> ItemVectors:
    """One view of every item [R, D]."""
    return ItemVectors(lambda ids: encoder.views(ids, {name})[name], encoder.n_items + 2, device)
