"""What every embedder of texts can do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol

import numpy as np
import numpy.typing as npt


class TextEncoder(Protocol):
    """Turns texts into vectors; equal texts get equal vectors."""

    libraries: ClassVar[tuple[str, ...]]

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """One row per text, in the order given, float32 [len(texts), D]."""
        ...
