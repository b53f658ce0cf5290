"""The contract of embedders of texts, and the step that most of them are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from sage_pl.artifacts.store import Artifact
from sage_pl.semantic.tables import padded
from sage_pl.semantic.texts import item_texts


class TextEncoder(Protocol):
    """Encodes texts as vectors; equal texts have equal vectors."""

    libraries: ClassVar[tuple[str, ...]]

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """One row per text, in their order, float32 [len(texts), D]."""
        ...


class TextEmbedder(ABC):
    """A step that encodes every item's text; subclasses are frozen dataclasses."""

    name: ClassVar[str] = "embed"
    inputs: ClassVar[tuple[str, ...]] = ("texts",)

    @abstractmethod
    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]: ...

    def encode_new(self, known: Sequence[str], new: Sequence[str]) -> npt.NDArray[np.float32]:
        """Vectors of new texts in the space of those of the known ones, float32 [len(new), D]."""
        return self.encode(new)

    def run(self, inputs: Mapping[str, Artifact], out: Path) -> None:
        np.save(out / "table.npy", padded(self.encode(item_texts(inputs["texts"]))))
