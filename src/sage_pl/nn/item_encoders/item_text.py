"""Item vectors made before training, as the item encoders read them."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from sage_pl.errors import SettingError
from sage_pl.ranges import Count

_RESIDENT = 2**30  # bytes of a mapped file that reading may bring into memory before they are released
_AROUND = 2**16  # bytes the system maps around a row that is read


@functools.lru_cache(4)
def every_row(n_rows: int, device: torch.device) -> Int[Tensor, "R"]:
    """Ids 0..n_rows - 1. Cached: a table compares by identity to detect a read of all rows; read-only."""
    with torch.inference_mode(False):
        return torch.arange(n_rows, device=device)


def load_table(path: str, n_items: int) -> Float[Tensor, "R D"]:
    """The ``table.npy`` of an ``embed`` or ``reduce`` artifact, one row per id; memory-mapped.

    Raises:
        SettingError: the table does not have N + 2 rows.
    """
    table = np.load(Path(path) / "table.npy", mmap_mode="c", allow_pickle=False)
    if len(table) != n_items + 2:
        raise SettingError(
            f"{path}/table.npy has {len(table)} rows, wanted {n_items + 2} (N + 2) for this data set; "
            "run scripts/prepare.py for it"
        )
    return torch.from_numpy(table)


def load_start(path: str, n_items: int, dim: int) -> Float[Tensor, "R D"]:
    """The table of a ``reduce`` artifact, to start an ID table of width ``dim`` from.

    Raises:
        SettingError: the table has another number of rows or another width.
    """
    start = load_table(path, n_items)
    if start.shape[1] != dim:
        raise SettingError(
            f"the reduced text is {start.shape[1]} wide, item_encoder.dim is {dim}; set steps.reduce.dim={dim}"
        )
    return start


def standardised(table: Float[Tensor, "R D"]) -> Float[Tensor, "R D"]:
    """The items' vectors less their mean, scaled to mean squared length 1. A copy in memory.

    Rows 0 and N + 1 stay zero, and so does an item's row of zeros, of which nothing is known: it counts for neither number.
    """
    table = table.float() if table.dtype == torch.float16 else table
    has_vector = F.pad(table[1:-1].any(1), (1, 1))
    items = table[has_vector]
    items = items - items.mean(0)
    length = items.square().sum(1).mean().sqrt()
    result = torch.zeros_like(table)
    result[has_vector] = items / length.clamp(min=torch.finfo(items.dtype).tiny)
    return result


class ItemText(nn.Module):
    """``x_i = E_text[i]``: text vectors, read row by row from a table that stays in its file and in its own type.

    Rows of a float16 file are widened to the model's type as they are read. A table larger than 1 GiB occupies about that much
    memory at most: opening the file anew releases the pages that reading has brought there.

    Args:
        folder: of an artifact with one vector per item, ``table.npy`` [R, D].
        n_items: N.
        freeze: the table is a constant that no checkpoint contains; False trains a copy of it, in float32.
        standardise: see :func:`standardised`; makes a copy in memory.

    Shape: ``[*P] -> [*P, D]``.

    Raises:
        SettingError: the table does not have N + 2 rows.
    """

    def __init__(self, folder: str, n_items: Count, freeze: bool = True, standardise: bool = False) -> None:
        super().__init__()
        self._source = folder, n_items
        self._file: Tensor | None = load_table(folder, n_items)
        table = standardised(self._file) if standardise else self._file
        self.width = table.shape[1]
        self.table: Tensor
        if freeze:
            self.register_buffer("table", table, persistent=False)
        else:
            self.register_parameter("table", nn.Parameter(table.to(torch.get_default_dtype(), copy=True)))
        self._like: Tensor
        self.register_buffer("_like", torch.empty(0), persistent=False)  # follows the model's type
        if self.table is not self._file or self.table.nbytes <= _RESIDENT:
            self._file = None
        self._rows_read = 0

    def forward(self, ids: Int[Tensor, "*P"]) -> Float[Tensor, "*P D"]:
        if self.table is self._file:  # still on the CPU, in the file's type
            self._release_pages(ids.numel())
        elif ids.numel() == len(self.table) and ids is every_row(len(self.table), ids.device):
            return self.table.to(self._like.dtype)  # without a copy where the types agree
        return F.embedding(ids, self.table).to(self._like.dtype)

    def _release_pages(self, n_rows: int) -> None:
        self._rows_read += n_rows
        if self._rows_read * max(self.table[0].nbytes, _AROUND) > _RESIDENT:
            self.table = self._file = load_table(*self._source)
            self._rows_read = n_rows
