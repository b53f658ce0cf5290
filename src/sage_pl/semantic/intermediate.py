"""Item vectors reduced to a middle width, from which an adapter goes on to the model's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from sage_pl.artifacts.store import Artifact
from sage_pl.semantic.reduce import write_components


@dataclass(frozen=True)
class Intermediate:
    """The ``min(dim, N, D)`` leading principal components, as :class:`sage_pl.semantic.reduce.Reduce` computes them.

    Where the vectors are no wider than ``dim``, as those of small encoders, every component is kept: a rotation of the
    centred vectors, which an affine adapter can undo.

    Args:
        dim: most components kept (1,536 in the paper, for vectors 4,096 wide).
        whiten: divide every component by its standard deviation (off in the paper).

    Writes:
        ``table.npy`` float32 [R, D'] and ``explained.npy`` float32 [D'], the share of variance of each component.

    Raises:
        ValueError: ``dim`` is below 1.

    Reference: LLMEmb, section on recommendation adaptation training. Differs: the decomposition is exact, where the reference's
    solver is randomised and unseeded.
    """

    dim: int = 1536
    whiten: bool = False

    name: ClassVar[str] = "intermediate"
    version: ClassVar[int] = 1
    inputs: ClassVar[tuple[str, ...]] = ("embed",)
    libraries: ClassVar[tuple[str, ...]] = ("scikit-learn",)

    def __post_init__(self) -> None:
        if self.dim < 1:
            raise ValueError(f"steps.intermediate.dim is {self.dim}, wanted at least 1")

    def run(self, inputs: Mapping[str, Artifact], out: Path) -> None:
        rows = np.asarray(inputs["embed"].array("table")[1:-1], dtype=np.float64)
        write_components(rows, min(self.dim, *rows.shape), self.whiten, out)
