"""Users' sequences in memory: one flat array of item ids and the offsets of each user, with the split."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sage_pl.artifacts.files import records_of
from sage_pl.artifacts.store import MANIFEST, Artifact
from sage_pl.ranges import Count

IntArray = npt.NDArray[np.integer]
BLOCK = 2**22  # events that are read at once


@dataclass(frozen=True)
class Cases:
    """Held-out events of one split: the item at position ``at`` of ``user``'s sequence, whose history precedes it."""

    user: IntArray  # [K]
    at: IntArray  # [K] 0-based position within the user's sequence
    answer: IntArray  # [K] item id

    def __len__(self) -> int:
        return len(self.user)


@dataclass(frozen=True)
class Sequences:
    """Every user's items, oldest first, and which of them are training data.

    ``values[offsets[u]:offsets[u + 1]]`` is user ``u``'s sequence (u = 1..U; row 0 is empty), of which the first
    ``train_end[u]`` events are the training part. ``valid`` and ``test`` hold the held-out cases.
    """

    values: IntArray  # [n_interactions] item ids 1..N
    offsets: IntArray  # [U + 2]
    train_end: IntArray  # [U + 1]
    valid: Cases
    test: Cases
    n_items: Count

    @classmethod
    def load(cls, artifact: Artifact) -> Sequences:
        """Open the ``sequences`` artifact written by :class:`sage_pl.data.interactions.Interactions`."""
        values, offsets = artifact.array("values"), artifact.array("offsets")
        n_items = artifact.height("items")
        splits = {}
        for name in ("valid", "test"):
            user, at = artifact.array(f"{name}_user"), artifact.array(f"{name}_at")
            splits[name] = Cases(user, at, values[offsets[user] + at])
        return cls(values, offsets, artifact.array("train_end"), splits["valid"], splits["test"], n_items)

    @property
    def n_users(self) -> int:
        return len(self.offsets) - 2

    @cached_property
    def lengths(self) -> IntArray:
        """Events per user, [U + 1]."""
        return np.diff(self.offsets)

    @cached_property
    def train_mask(self) -> npt.NDArray[np.bool_]:
        """True for the events of ``values`` that belong to the training part."""
        return np.concatenate([np.zeros(0, bool), *(inside for _, inside in self._training())])

    @cached_property
    def train_counts(self) -> IntArray:
        """Training events per item, [N + 2]: the popularity in all groups and floors."""
        counts = np.zeros(self.n_items + 2, np.int64)
        for values, inside in self._training():
            counts += np.bincount(values[inside], minlength=len(counts))
        return counts

    def train_csr(self) -> tuple[IntArray, IntArray]:
        """``values`` and ``offsets`` of the training events alone."""
        offsets = np.concatenate([[0], np.cumsum(self.train_end)])
        return self.values[self.train_mask], offsets

    def _training(self) -> Iterator[tuple[IntArray, npt.NDArray[np.bool_]]]:
        """The items of all users in turn and which are training events, some users at a time, so that memory is bounded."""
        borders = np.searchsorted(self.offsets, np.arange(0, len(self.values), BLOCK), side="right") - 1
        for start, end in pairwise([*np.unique(borders), len(self.offsets) - 1]):
            offsets = self.offsets[start : end + 1]
            lengths = np.diff(offsets)
            position = np.arange(lengths.sum()) - np.repeat(offsets[:-1] - offsets[0], lengths)
            yield self.values[offsets[0] : offsets[-1]], position < np.repeat(self.train_end[start:end], lengths)

    def window(self, users: IntArray, ends: IntArray, length: int) -> IntArray:
        """The last ``length`` items before position ``ends`` of each user, left-padded, trimmed to the longest.

        Args:
            users: [B] user ids.
            ends: [B] number of events before the window's end.
            length: largest number of items.

        Returns:
            int64 [B, L] with L = the longest window, at least 1.
        """
        return windows(self.values, self.offsets[users] + ends, np.minimum(ends, length))


def write_counts(artifact: Artifact, out: Path) -> None:
    """A ``sequences`` artifact with the same training events per item, and nobody's history: all are one user's, by item."""
    counts = Sequences.load(artifact).train_counts
    total, none = counts.sum(), np.zeros(0, np.int64)
    arrays = {"values": np.repeat(np.arange(len(counts)), counts), "offsets": [0, 0, total], "train_end": [0, total]}
    for name, array in (arrays | dict.fromkeys(("valid_user", "valid_at", "test_user", "test_at"), none)).items():
        np.save(out / f"{name}.npy", np.asarray(array, np.int32 if name == "values" else np.int64))
    artifact.frame("items").select("item", "item_id").write_parquet(out / "items.parquet")
    (out / MANIFEST).write_text(json.dumps({"key": artifact.key, "files": records_of(out)}))


def windows(values: IntArray, ends: IntArray, sizes: IntArray) -> IntArray:
    """Slices of a flat array, left-padded with 0 to the longest: int64 [B, L], L at least 1.

    Args:
        values: the array.
        ends: [B] exclusive end of each slice.
        sizes: [B] number of values of each slice.
    """
    width = max(int(sizes.max(initial=1)), 1)
    back = np.arange(width, 0, -1)  # distance from the end
    real = back <= sizes[:, None]
    if not real.any():
        return np.zeros(real.shape, np.int64)
    return np.where(real, values[np.where(real, ends[:, None] - back, 0)], 0).astype(np.int64)
