"""Numbers and the values they may have: a signature says ``heads: Heads``, and every plan is checked by it (runs/numbers.py).

The ranges are wide: what lies outside cannot be computed with, or has no meaning. This module imports nothing of the project.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class Range:
    """Values from ``low`` to ``high``.

    Args:
        low, high: the ends, which belong to the range.
        above, below: True leaves out the end ``low`` or ``high``.
    """

    low: int | float = -math.inf
    high: int | float = math.inf
    above: bool = False
    below: bool = False

    def __contains__(self, value: int | float) -> bool:
        low = self.low < value if self.above else self.low <= value
        return low and (value < self.high if self.below else value <= self.high)

    def __str__(self) -> str:
        low = f"{'above' if self.above else 'of at least'} {_text(self.low)}"
        high = f"{'below' if self.below else 'at most'} {_text(self.high)}"
        return f"{low} and {high}"


@dataclass(frozen=True)
class Divides:
    """The number divides the part's setting ``other``, a dotted key from the part on."""

    other: str


@dataclass(frozen=True)
class AtMost:
    """The number is at most the part's setting ``other``."""

    other: str


@dataclass(frozen=True)
class Filled:
    """The list holds at least one number."""


def _text(value: int | float) -> str:
    return f"{int(value):,}" if value == int(value) else f"{value:g}"


MOST = 2**31 - 1  # of what is counted: the largest that every library's integers hold

Count = Annotated[int, Range(1, MOST)]
Natural = Annotated[int, Range(0, MOST)]
Pair = Annotated[int, Range(2, MOST)]  # of what is compared with others of its kind
Seed = Annotated[int, Range(0, 2**32 - 1)]
Width = Annotated[int, Range(1, 65_536)]
Depth = Annotated[int, Range(1, 1_000)]
Heads = Annotated[int, Range(1, 65_536), Divides("dim")]
Length = Annotated[int, Range(1, 2**20)]
Retries = Annotated[int, Range(0, 1_000)]
Workers = Annotated[int, Range(0, 1_024)]

Share = Annotated[float, Range(0, 1)]
Dropout = Annotated[float, Range(0, 1, below=True)]
Probability = Annotated[float, Range(0, 1, above=True)]
Fraction = Annotated[float, Range(0, 1, above=True, below=True)]
Weight = Annotated[float, Range(0, 1e6)]
Signed = Annotated[float, Range(-1e6, 1e6)]
Rate = Annotated[float, Range(0, 1_000)]  # of learning
Positive = Annotated[float, Range(1e-6, 1e6)]
Temperature = Annotated[float, Range(1e-4, 1e4)]
Fuzzifier = Annotated[float, Range(1, 100, above=True)]
Megabytes = Annotated[float, Range(0, 1e9, above=True)]

Ratio = Annotated[float, Range(1, 1e6, above=True)]
Deviation = Annotated[float, Range(0, 1_000)]
Exponent = Annotated[float, Range(0, 100)]
Silhouette = Annotated[float, Range(-1, 1)]
Warmth = Annotated[float, Range(0, 100)]  # of a language model's words
Bit = Annotated[int, Range(0, 1)]
Limit = Count | Probability  # of batches: so many, or a share
