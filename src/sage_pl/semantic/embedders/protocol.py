"""The contract of embedders of texts, and the step that most of them are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from sage_pl.artifacts.store import Artifact
from sage_pl.semantic.tables import padded
from sage_pl.semantic.texts import item_texts

Encode = Callable[[Sequence[str]], npt.NDArray[np.float32]]  # one row per text, in their order


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

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """One row per text, in their order, float32 [len(texts), D]."""
        return self.fitted(texts)(texts)

    @abstractmethod
    def fitted(self, known: Sequence[str]) -> Encode:
        """What encodes any texts in the space of the known ones; a model is loaded here, once for all calls."""

    def run(self, inputs: Mapping[str, Artifact], out: Path) -> None:
        np.save(out / "table.npy", padded(self.encode(item_texts(inputs["texts"]))))
