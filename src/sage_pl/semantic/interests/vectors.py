"""Every user's interests as vectors, the input of models."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from sage_pl.artifacts.store import Artifact
from sage_pl.errors import SettingError
from sage_pl.ranges import Seed
from sage_pl.semantic.embedders.protocol import TextEncoder
from sage_pl.semantic.tables import FloatArray
from sage_pl.semantic.texts import item_texts

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class InterestVectors:
    """The encoded phrases of every user; each distinct phrase is encoded once.

    Args:
        encoder: an embedder of texts, ``encoder: ${steps.embed}``. One that is fitted to its texts (tfidf) is fitted to the
            phrases, so that they cannot be compared with items; :class:`ComparableInterests` can.
        shuffle: as :class:`Shuffled`, for recipes of earlier versions; encodes the phrases once more.

    Writes:
        ``values.npy`` float16 [M, D], and ``offsets.npy`` int64 [U + 2]: user u has rows ``offsets[u]:offsets[u + 1]``.

    Raises:
        SettingError: the encoder encodes no texts.
    """

    encoder: TextEncoder
    shuffle: Seed | None = None

    name: ClassVar[str] = "interests"
    version: ClassVar[int] = 1
    inputs: ClassVar[tuple[str, ...]] = ("groups", "phrases")

    @property
    def libraries(self) -> tuple[str, ...]:
        return self.encoder.libraries

    def run(self, inputs: Mapping[str, Artifact], out: Path) -> None:
        if not hasattr(self.encoder, "encode"):
            raise SettingError(
                f"steps.interests.encoder is a {type(self.encoder).__name__}, which encodes no texts, so that interests cannot "
                "be put into vectors; set embedder=minilm, or 'steps.interests.encoder=...' to an embedder of texts"
            )
        phrases = inputs["phrases"].frame("phrases").sort("user", "group")
        n_rows = len(inputs["groups"].array("offsets")) - 1
        values = self.encoded(phrases["phrase"].to_list(), inputs).astype(np.float16)
        counts = np.bincount(phrases["user"].to_numpy(), minlength=n_rows)
        if self.shuffle is not None:
            values, counts = shuffled(values, counts, self.shuffle)
        np.save(out / "values.npy", values)
        np.save(out / "offsets.npy", np.concatenate([[0], np.cumsum(counts)]))
        log.info("%d interests of %d users, %d wide", len(values), np.count_nonzero(counts), values.shape[1])

    def encoded(self, phrases: list[str], inputs: Mapping[str, Artifact]) -> FloatArray:
        return self.encoder.encode(phrases)


@dataclass(frozen=True)
class ComparableInterests(InterestVectors):
    """As :class:`InterestVectors`, in the space of the items' texts, to which an encoder that is fitted is fitted."""

    inputs: ClassVar[tuple[str, ...]] = ("groups", "phrases", "texts")

    def encoded(self, phrases: list[str], inputs: Mapping[str, Artifact]) -> FloatArray:
        encoder: Any = self.encoder
        return encoder.fitted(item_texts(inputs["texts"]))(phrases)


@dataclass(frozen=True)
class Shuffled:
    """Every user's interests moved to another user who has some: the control for their content. Nothing is encoded anew.

    Args:
        seed: of the permutation of the users.

    Writes:
        as :class:`InterestVectors`.
    """

    seed: Seed = 0

    name: ClassVar[str] = "shuffled"
    version: ClassVar[int] = 1
    inputs: ClassVar[tuple[str, ...]] = ("interests",)
    libraries: ClassVar[tuple[str, ...]] = ()

    def run(self, inputs: Mapping[str, Artifact], out: Path) -> None:
        values, offsets = (inputs["interests"].array(name) for name in ("values", "offsets"))
        values, counts = shuffled(np.asarray(values), np.diff(offsets), self.seed)
        np.save(out / "values.npy", values)
        np.save(out / "offsets.npy", np.concatenate([[0], np.cumsum(counts)]))


def shuffled(values: FloatArray, counts: np.ndarray, seed: int) -> tuple[FloatArray, np.ndarray]:
    """The interests of users 0, 1, ..., each set moved to another user who has some."""
    circle = np.random.default_rng(seed).permutation(np.flatnonzero(counts))
    donor = np.arange(len(counts))
    donor[circle] = np.roll(circle, 1)
    starts = np.cumsum(counts) - counts
    rows = [np.arange(starts[user], starts[user] + counts[user]) for user in donor]
    return values[np.concatenate(rows)], counts[donor]
