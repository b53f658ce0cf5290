"""Nearest items and users by cosine, block by block, as frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from sage_pl.errors import SettingError
from sage_pl.serving.restriction import ids_given, list_length

_BATCH = 512  # histories encoded, or rows compared, at a time


class Nearest(NamedTuple):
    """For Q rows the places of the k nearest others, and their cosines."""

    places: npt.NDArray[np.int64]  # [Q, k]
    cosines: npt.NDArray[np.float32]


def portions(n: int) -> Iterator[npt.NDArray[np.int64]]:
    """0..n-1 in runs of bounded length."""
    return iter(np.split(np.arange(n), range(_BATCH, n, _BATCH))) if n else iter(())


def directions(vectors: Float[Tensor, "B *I E"]) -> Float[Tensor, "B I E"]:
    """Vectors of length 1; I = 1 where each row has one."""
    some = vectors.float() if vectors.ndim == 3 else vectors.float()[:, None]
    return F.normalize(some, dim=2)


def nearest(vectors: Float[Tensor, "N I E"], rows: Sequence[int] | npt.NDArray[np.int64], k: int) -> Nearest:
    """The k rows nearest to each of some, themselves left out; of several vectors of a row the best pair counts.

    Raises:
        SettingError: k is below 1.
    """
    k, every = list_length(k, len(vectors) - 1), vectors.flatten(0, 1).T
    places, cosines = [torch.zeros(0, k, dtype=torch.long)], [torch.zeros(0, k)]
    for portion in torch.tensor(list(rows), dtype=torch.long).split(_BATCH):
        pairs = (vectors[portion] @ every).unflatten(2, vectors.shape[:2])  # [b, I, N, I]
        best = pairs.amax(dim=(1, 3)).scatter(1, portion[:, None], -torch.inf).topk(k, dim=1)
        places.append(best.indices)
        cosines.append(best.values)
    return Nearest(torch.cat(places).numpy(), torch.cat(cosines).numpy())


def pairs(
    column: str, names: Sequence[str], neighbours: Nearest, every: Sequence[str], titles: Sequence[str] = ()
) -> pl.DataFrame:
    """``column``, ``rank``, ``similar_id``, ``title`` where there are titles, and ``score``."""
    k, similar = neighbours.places.shape[1], neighbours.places.flatten()
    columns = {
        column: pl.Series(names, dtype=pl.String).gather(np.repeat(np.arange(len(names)), k)),
        "rank": np.tile(np.arange(1, k + 1, dtype=np.int32), len(names)),
        "similar_id": pl.Series(every, dtype=pl.String).gather(similar),
        **({"title": pl.Series(titles, dtype=pl.String).gather(similar)} if len(titles) else {}),
        "score": neighbours.cosines.flatten(),
    }
    return pl.DataFrame(columns)


def rows_of(names: Sequence[str], some: Sequence[str]) -> npt.NDArray[np.int64]:
    """The row of each user that is asked for; the error names no other user's id.

    Raises:
        SettingError: one is unknown, or ``some`` is a text.
    """
    row_of, some = {name: row for row, name in enumerate(names)}, ids_given(some, "users")
    for one in some:
        if one not in row_of:
            raise SettingError(
                f"the data the model was trained with have no user {one!r}, of {len(names)}; give the user's events as a "
                "frame, or history=[ITEM, ITEM]"
            )
    return np.array([row_of[one] for one in some], np.int64)
