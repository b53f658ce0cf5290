"""Item vectors made before training, as the item encoders hold them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


def load_table(path: str, n_items: int) -> Float[Tensor, "R D"]:
    """The ``table.npy`` of an ``embed`` or ``reduce`` artifact, one row per id; read from the file as it is needed.

    Raises:
        ValueError: the table does not have N + 2 rows.
    """
    table = np.load(Path(path) / "table.npy", mmap_mode="c", allow_pickle=False)
    if len(table) != n_items + 2:
        raise ValueError(
            f"{path}/table.npy has {len(table)} rows, wanted {n_items + 2} (N + 2) for this data set; "
            "run scripts/prepare.py for it"
        )
    return torch.from_numpy(table)


def load_start(path: str, n_items: int, dim: int) -> Float[Tensor, "R D"]:
    """The table of a ``reduce`` artifact, to start an ID table of width ``dim`` from.

    Raises:
        ValueError: the table has another number of rows or another width.
    """
    start = load_table(path, n_items)
    if start.shape[1] != dim:
        raise ValueError(
            f"the reduced text is {start.shape[1]} wide, item_encoder.dim is {dim}; set steps.reduce.dim={dim}"
        )
    return start


def standardised(table: Float[Tensor, "R D"]) -> Float[Tensor, "R D"]:
    """The items' vectors around their mean, with mean squared length 1; rows 0 and N + 1 stay zero. A copy in memory."""
    items = table[1:-1] - table[1:-1].mean(0)
    length = items.square().sum(1).mean().sqrt()
    return F.pad(items / length.clamp(min=torch.finfo(items.dtype).tiny), (0, 0, 1, 1))


def hold_text(module: nn.Module, table: Float[Tensor, "R D"], freeze: bool) -> None:
    """Give ``module`` the text vectors as ``module.text``: a constant that no checkpoint holds, or a trained copy."""
    if freeze:
        module.register_buffer("text", table, persistent=False)
    else:
        module.register_parameter("text", nn.Parameter(table.clone()))
