"""Items as rows of exported tables."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from sage_pl.artifacts.weights import read_tensors
from sage_pl.errors import MissingFileError, SettingError
from sage_pl.nn.item_encoders.encoded import ItemVectors, view_vectors
from sage_pl.types import ItemEncoder, Views

TABLES = "tables"


class CachedItems(nn.Module):
    """``views(i)`` and ``output(i)`` of another item encoder, as rows of memory-mapped tables.

    Serving a model this way needs no text vectors, no adapter and no gate.

    Args:
        folder: the files of :func:`write_tables`: ``<view>.npy`` [R, D] for every view, among them ``output`` [R, E]; or the
            same in ``tables.safetensors``.

    Raises:
        MissingFileError: the folder has no ``output.npy``.
        SettingError: a table is no matrix of floats, or has another number of rows than ``output``.
    """

    def __init__(self, folder: str | Path) -> None:
        super().__init__()
        place = Path(folder)
        if (place / f"{TABLES}.safetensors").is_file():
            self._set(read_tensors(place, TABLES))
            return
        if not (place / "output.npy").is_file():
            raise MissingFileError(
                f"{folder} holds no output.npy; write it with scripts/export.py checkpoint=FILE folder=DIR"
            )
        self._set(
            {
                file.stem: torch.from_numpy(np.load(file, mmap_mode="c", allow_pickle=False))
                for file in sorted(place.glob("*.npy"))
            }
        )

    @classmethod
    def of(cls, encoder: ItemEncoder, reads: Sequence[str], device: torch.device) -> CachedItems:
        """The views of another item encoder as tables in memory."""
        items = cls.__new__(cls)
        nn.Module.__init__(items)
        items._set({name: table[:] for name, table in _tables_of(encoder, reads, device).items()})
        return items

    def with_new(self, rows: Views) -> CachedItems:
        """These items, then new ones; the mask token's row stays the last one.

        Args:
            rows: of the new items, by view, ``output`` included.
        """
        items = type(self).__new__(type(self))
        nn.Module.__init__(items)
        moved = {name: torch.cat([table[:-1], rows[name].to(table), table[-1:]]) for name, table in self._tables()}
        items._set(moved)
        return items

    def _set(self, tables: Mapping[str, Tensor]) -> None:
        rows = len(tables["output"]) if tables["output"].ndim else 0
        for name, table in tables.items():
            if table.ndim != 2 or not table.is_floating_point() or len(table) != rows or rows < 3:
                raise SettingError(
                    f"the item table {name} is {table.dtype} {list(table.shape)}, wanted floats [R, D] with a row for each "
                    f"item and two more, as output has ({rows} rows); export the model again"
                )
            self.register_buffer(f"table_{name}", table, persistent=False)
        self.n_items = len(self.get_buffer("table_output")) - 2
        self.input_dims: Mapping[str, int] = {name: table.shape[1] for name, table in self._tables()}
        self.output_dim = self.input_dims["output"]

    def views(self, ids: Int[Tensor, "M"], names: Collection[str] | None = None) -> Views:
        return {name: F.embedding(ids, table) for name, table in self._tables() if names is None or name in names}

    def _tables(self) -> Iterator[tuple[str, Tensor]]:
        return ((name.removeprefix("table_"), table) for name, table in self.named_buffers())

    def output(self, views: Views) -> Float[Tensor, "*P E"]:
        return views["output"]


def write_tables(encoder: ItemEncoder, reads: Sequence[str], folder: Path, device: torch.device) -> None:
    """Every item's ``output`` and the views that sequences read, one ``.npy`` file each."""
    for name, table in _tables_of(encoder, reads, device).items():
        np.save(folder / f"{name}.npy", table[:].cpu().numpy())


def _tables_of(encoder: ItemEncoder, reads: Sequence[str], device: torch.device) -> dict[str, ItemVectors]:
    tables = {name: view_vectors(encoder, name, device) for name in reads}
    tables["output"] = ItemVectors(lambda ids: encoder.output(encoder.views(ids)), encoder.n_items + 2, device)
    return tables
