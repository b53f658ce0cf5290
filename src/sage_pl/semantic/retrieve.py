"""The most similar users of every user."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from sage_pl.artifacts.store import Artifact
from sage_pl.data.sequences import Sequences
from sage_pl.errors import SettingError
from sage_pl.ranges import Count, Natural
from sage_pl.semantic.projection import quiet_faiss
from sage_pl.semantic.tables import FloatArray, normalised

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Retrieve:
    """The ``k`` other users of highest cosine similarity, best first, equal ones by user id.

    The user itself is excluded by id (the reference drops the first hit, which may be a user with an equal profile). Users with
    a zero profile or too short a history have no neighbours and are none. Of more users tied for the last places than fit, the
    search chooses, the same in every run.

    Args:
        k: neighbours per user (100 in the reference).
        min_history: least number of training items of a user: teachers are read without their last item, so that one with a
            single item teaches nothing.
        chunk: users of one search, which bounds the memory for similarities. Does not change the result.

    Writes:
        ``neighbours.npy`` int32 [U + 1, k], user ids 1..U; 0 fills short rows.

    Reference: LLM-ESR, ``sim_user_100.pkl`` (0-based there).
    """

    k: Count = 100
    min_history: Natural = 2
    chunk: Count = field(default=4096, compare=False)

    name: ClassVar[str] = "retrieve"
    version: ClassVar[int] = 1
    inputs: ClassVar[tuple[str, ...]] = ("sequences", "profile")
    libraries: ClassVar[tuple[str, ...]] = ("faiss-cpu",)

    def __post_init__(self) -> None:
        if self.k < 1:
            raise SettingError(f"steps.retrieve.k is {self.k}, wanted at least 1")

    def run(self, inputs: Mapping[str, Artifact], out: Path) -> None:
        profiles = np.asarray(inputs["profile"].array("table"), dtype=np.float32)
        long_enough = Sequences.load(inputs["sequences"]).train_end >= self.min_history
        users = np.flatnonzero(long_enough & profiles.any(axis=1))
        neighbours = np.zeros((len(profiles), self.k), dtype=np.int32)
        if len(users) > 1:
            nearest = similar(normalised(profiles[users]), self.k, self.chunk)
            neighbours[users, : nearest.shape[1]] = users[nearest]
        else:
            log.warning("%d of %d users can be compared, so there are no neighbours", len(users), len(profiles) - 1)
        np.save(out / "neighbours.npy", neighbours)
        log.info("%d of %d users have neighbours", len(users) if len(users) > 1 else 0, len(profiles) - 1)


def similar(rows: FloatArray, k: int, chunk: int = 4096) -> npt.NDArray[np.int64]:
    """For each row the ``min(k, n - 1)`` other rows of largest inner product, best first, equal ones by index.

    Args:
        rows: [n, D], n >= 2.
        k: number of other rows.
        chunk: rows of one search.

    Returns:
        [n, min(k, n - 1)] row indices, without the row itself.
    """
    from tqdm import tqdm

    faiss = quiet_faiss()
    rows = np.ascontiguousarray(rows, dtype=np.float32)
    index = faiss.IndexFlatIP(rows.shape[1])
    index.add(rows)
    n_hits = min(k + 1, len(rows))
    nearest = np.empty((len(rows), n_hits - 1), dtype=np.int64)

    def search(start: int) -> None:
        scores, ids = index.search(rows[start : start + chunk], n_hits)
        itself = ids == np.arange(start, start + len(ids))[:, None]
        order = np.lexsort((ids, -scores.round(6), itself), axis=1)  # itself last; then best first; then by index
        nearest[start : start + len(ids)] = np.take_along_axis(ids, order, axis=1)[:, :-1]

    starts = range(0, len(rows), chunk)
    # A thread per chunk and core: within a chunk, faiss multiplies on one core, whatever its setting.
    with ThreadPoolExecutor(faiss.omp_get_max_threads(), initializer=faiss.omp_set_num_threads, initargs=(1,)) as pool:
        done = pool.map(search, starts)
        for _ in tqdm(done, desc="retrieve", total=len(starts), unit="chunk", disable=not sys.stderr.isatty()):
            pass
    return nearest
