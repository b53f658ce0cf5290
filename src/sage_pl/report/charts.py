"""Charts as geometry, which ``templates/charts.svg.j2`` draws as a small SVG.

A chart holds style classes instead of colours, so that one page serves light, dark and print. A chart is as wide as a
phone; wider screens place charts side by side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

WIDTH, HEIGHT = 360, 230
LEFT, RIGHT, TOP, BOTTOM = 46, 348, 12, 190  # of the plotting area


class Tick(NamedTuple):
    """A labelled position on an axis; ``note`` is a second line."""

    at: float
    label: str
    note: str = ""


class Scale(NamedTuple):
    """A linear map from values to pixels."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        span = self.high - self.low
        share = (value - self.low) / span if span else 0.5
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self, n: int = 6, least: float = 0) -> list[Tick]:
        """At most ``n`` round numbers: multiples of 1, 2, 2.5 or 5 times a power of ten, and of ``least`` if it is set."""
        span = self.high - self.low
        if not span > 0:
            return [Tick(self(self.low), _number(self.low, 1))]
        raw = max(span / max(n - 1, 1), least)
        power = 10.0 ** math.floor(math.log10(raw))
        steps = [s * power for s in (1, 2, 2.5, 5, 10) if not least or s * power % least == 0]
        step = next(one for one in steps if one >= raw * (1 - 1e-9))
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [Tick(self(i * step), _number(i * step, step)) for i in range(first, last + 1)]


class Path(NamedTuple):
    """A curve: ``d`` is the SVG path, ``points`` are (x, y, tooltip), ``band`` is the closed path of its interval."""

    style: str
    name: str
    d: str
    points: Sequence[tuple[float, float, str]] = ()
    band: str = ""


class Bar(NamedTuple):
    """A bar with its interval in pixels (``low`` > ``high``); None where unknown."""

    style: str
    x: float
    y: float
    width: float
    height: float
    label: str
    low: float | None = None
    high: float | None = None


class Square(NamedTuple):
    """A square of a heat map; ``strength`` 0..1 is the colour's opacity."""

    style: str
    x: float
    y: float
    width: float
    height: float
    strength: float
    text: str
    label: str
    faint: bool = False


class Label(NamedTuple):
    """A point with its name, and the start of its move."""

    style: str
    at: tuple[float, float]
    text: str
    start: tuple[float, float] | None = None
    anchor: str = "start"


@dataclass(frozen=True)
class Chart:
    """One panel; all coordinates in pixels of a ``width`` x ``height`` box.

    Args:
        title: above the panel.
        description: for screen readers.
        x_ticks, y_ticks: labelled positions; ``x_name``, ``y_name``: names of the axes.
        dots: style class -> path of points, each a move and a line of length 0.
        points: number of each dot, in the order of ``dots``, among the names of its section (:class:`Names`).
        rule: x of a vertical line, with its name.
    """

    title: str
    description: str
    width: int = WIDTH
    height: int = HEIGHT
    x_name: str = ""
    y_name: str = ""
    x_ticks: Sequence[Tick] = ()
    y_ticks: Sequence[Tick] = ()
    paths: Sequence[Path] = ()
    bars: Sequence[Bar] = ()
    squares: Sequence[Square] = ()
    dots: Sequence[tuple[str, str]] = ()
    points: Sequence[int] = ()
    labels: Sequence[Label] = ()
    rule: Tick | None = None
    left: int = LEFT
    right: int = RIGHT
    top: int = TOP
    bottom: int = BOTTOM


def _number(value: float, step: float) -> str:
    if value == 0:
        return "0"
    digits = next(d for d in range(9) if d == 8 or abs(step * 10**d - round(step * 10**d)) < 1e-6)
    return f"{value:,.{digits}f}".replace("-", "−")
