"""Sampled candidates of the evaluation cases: drawn once, then stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from sage_pl.artifacts.store import Artifact
from sage_pl.data.sequences import Cases, IntArray, Sequences
from sage_pl.errors import SettingError
from sage_pl.ranges import Count, Seed

_BLOCK = 20_000  # cases drawn at a time


@dataclass(frozen=True)
class Candidates:
    """Step: ``n`` distinct items per case, uniform over the items absent from its user's whole sequence.

    Writes ``valid.npy`` and ``test.npy``, int32 [K, n], rows ascending; the answer is not among them.

    Differs from the reference code, which draws anew at every evaluation and may draw the test item in validation: its
    numbers change with the number of workers and epochs. Here all models are evaluated on the same candidates.

    Args:
        n: candidates per case, at least 1.
        seed: of the draw.

    Raises:
        SettingError: ``n`` is below 1, or a user's sequence lacks fewer than ``n`` items.
    """

    name: ClassVar[str] = "candidates"
    version: ClassVar[int] = 1
    inputs: ClassVar[tuple[str, ...]] = ("sequences",)
    libraries: ClassVar[tuple[str, ...]] = ("numpy",)

    n: Count = 100
    seed: Seed = 0

    def __post_init__(self) -> None:
        if self.n < 1:
            raise SettingError(
                f"n is {self.n}; draw at least one candidate, or set data.candidates=null to rank all items only"
            )

    def run(self, inputs: Mapping[str, Artifact], out: Path) -> None:
        sequences = Sequences.load(inputs["sequences"])
        for part, (split, cases) in enumerate({"valid": sequences.valid, "test": sequences.test}.items()):
            items = draw(sequences, cases, self.n, np.random.default_rng([self.seed, part]))
            np.save(out / f"{split}.npy", items, allow_pickle=False)


def draw(sequences: Sequences, cases: Cases, n: int, generator: np.random.Generator) -> npt.NDArray[np.int32]:
    """``n`` distinct items per case that its user's sequence lacks, [K, n], rows ascending.

    Raises:
        SettingError: a user's sequence lacks fewer than ``n`` items.
    """
    size = sequences.n_items + 1
    user = np.repeat(np.arange(len(sequences.lengths)), sequences.lengths)
    pairs = np.unique(user * size + sequences.values)  # one key per distinct (user, item), ascending
    _check_room(pairs // size, cases, n, sequences.n_items)
    rows = np.empty((len(cases), n), np.int32)
    for start in range(0, len(cases), _BLOCK):
        block = slice(start, start + _BLOCK)
        rows[block] = _draw_block(cases.user[block] * size, pairs, n, size, generator)
    return rows


def _draw_block(
    first_keys: IntArray, pairs: IntArray, n: int, size: int, generator: np.random.Generator
) -> npt.NDArray[np.int32]:
    """Draw all entries, then redraw the wrong ones (in the user's sequence, or twice in a row) until none is wrong.

    Items are compared for equality alone, so every admissible set is equally likely.

    Args:
        first_keys: [b] key of each user's item 0.
        pairs: ascending keys of all (user, item) pairs to avoid.
        n: items per row.
        size: items are drawn from 1..size - 1.
        generator: source of randomness.
    """
    rows = generator.integers(1, size, (len(first_keys), n), dtype=np.int32)
    pending = np.arange(len(rows))
    while len(pending):
        part = np.sort(rows[pending], axis=1)
        keys = first_keys[pending, None] + part
        wrong = pairs[np.minimum(np.searchsorted(pairs, keys), len(pairs) - 1)] == keys
        wrong[:, 1:] |= part[:, 1:] == part[:, :-1]
        part[wrong] = generator.integers(1, size, wrong.sum(), dtype=np.int32)
        rows[pending] = part
        pending = pending[wrong.any(1)]
    return rows


def _check_room(users: IntArray, cases: Cases, n: int, n_items: int) -> None:
    """Refuse a user without ``n`` admissible items; ``users``: one entry per distinct (user, item) pair."""
    free = n_items - np.bincount(users, minlength=cases.user.max(initial=0) + 1)[cases.user]
    if len(free) and free.min() < n:
        raise SettingError(
            f"user {cases.user[free.argmin()]} has touched all but {free.min()} of {n_items} items, but {n} candidates "
            f"are wanted; set evaluation.sampled to at most {free.min()}, or set data.candidates=null to rank all items only"
        )
