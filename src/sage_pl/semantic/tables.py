"""Item tables: one row per item id, with zero rows for padding (0) and the mask token (N + 1)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating[Any]]
IntArray = npt.NDArray[np.integer[Any]]
Number = TypeVar("Number", bound=np.generic)

_BLOCK = 65_536  # rows in memory at a time


def padded(rows: FloatArray) -> npt.NDArray[np.float32]:
    """The rows of items 1..N as a float32 table [N + 2, D] whose row i belongs to item i."""
    table = np.zeros((len(rows) + 2, rows.shape[1]), dtype=np.float32)
    table[1:-1] = rows
    return table


def write_padded(rows: FloatArray, file: Path) -> None:
    """Write the same table block by block, for rows larger than memory; float16 stays float16."""
    kind = np.dtype(np.float16 if rows.dtype == np.float16 else np.float32)
    shape, zeros = (len(rows) + 2, rows.shape[1]), np.zeros(rows.shape[1], kind)
    header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
    with open(file, "wb") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        for part in itertools.chain([zeros], (block for _, block in blocks(rows)), [zeros]):
            stream.write(np.ascontiguousarray(part, kind).data)


def blocks(rows: npt.NDArray[Number]) -> Iterator[tuple[int, npt.NDArray[Number]]]:
    """Blocks of rows, each with the number of its first row."""
    return ((start, rows[start : start + _BLOCK]) for start in range(0, len(rows), _BLOCK))


def normalised(rows: FloatArray) -> FloatArray:
    """Rows divided by their Euclidean norm; zero rows stay zero."""
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)


def neighbours(rows: FloatArray, queries: IntArray, candidates: IntArray, k: int) -> IntArray:
    """The k other candidates (or all) of largest inner product with each query, in arbitrary order.

    Args:
        rows: [R, D].
        queries: [M] row numbers.
        candidates: row numbers.
        k: number of neighbours.

    Returns:
        [M, min(k, number of other candidates)] row numbers.
    """
    k = min(k, len(candidates) - 1)
    columns, nearest = rows[candidates].T, []
    for part in np.array_split(queries, max(1, len(queries) // 256)):
        scores = rows[part] @ columns
        scores[candidates == part[:, None]] = -np.inf
        nearest.append(candidates[np.argpartition(-scores, k - 1, axis=1)[:, :k]])
    return np.concatenate(nearest)
