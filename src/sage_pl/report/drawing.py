"""Charts of values: curves, bars with intervals, heat maps, maps of points, moves in a plane."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sage_pl.errors import SettingError
from sage_pl.report.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Bar, Chart, Label, Path, Scale, Square, Tick

FloatArray = npt.NDArray[np.floating]
_LONGEST = 22  # characters of a name in a chart; the description has it whole


class Series(NamedTuple):
    """A curve's values; ``style`` is s0..s7 or floor; ``low`` and ``high`` are the ends of its interval, if it has one."""

    style: str
    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


def lines(
    title: str,
    series: Sequence[Series],
    x_name: str,
    zero: bool = False,
    rule: tuple[float, str] | None = None,
    places: Sequence[str] = (),
    y_name: str = "",
) -> Chart:
    """Curves over a common axis, whose vertical range is at least half of the largest value: a flat line looks flat.

    Args:
        title: above the panel.
        series: the curves.
        x_name, y_name: of the axes; whole numbers of the horizontal axis have whole ticks.
        zero: the vertical axis begins at 0.
        rule: x of a vertical line, with its name.
        places: names of the positions 0, 1, ... of the horizontal axis, in place of numbers.

    Raises:
        SettingError: no series has a point.
    """
    xs, ys = [v for s in series for v in s.x], [v for s in series for v in s.y]
    if not xs:
        raise SettingError(f"the chart {title!r} has no points to draw")
    x = Scale(min(xs), max(xs), LEFT, RIGHT)
    ys += [v for s in series for v in (*s.low, *s.high)]
    low, high = _range(ys, zero)
    y = Scale(low, high, BOTTOM, TOP + 12 * bool(y_name))
    paths = []
    for s in series:
        at = [(x(a), y(b)) for a, b in zip(s.x, s.y, strict=True)]
        d = "M" + "L".join(f"{a:g} {b:g}" for a, b in at)
        names = [places[int(a)] if places else f"{a:g}" for a in s.x]
        notes = [f"{s.name}, {x_name} {a}: {b:.4g}" for a, b in zip(names, s.y, strict=True)]
        points = [(a, b, note) for (a, b), note in zip(at, notes, strict=True)]
        edge = [*zip(s.x, s.low, strict=False), *reversed([*zip(s.x, s.high, strict=False)])]
        band = "M" + "L".join(f"{x(a):g} {y(b):g}" for a, b in edge) + "Z" if edge else ""
        paths.append(Path(s.style, s.name, d, points, band))
    ends = "; ".join(f"{s.name} from {s.y[0]:.4g} to {s.y[-1]:.4g}" for s in series if len(s.y))
    return Chart(
        title,
        f"Line chart over {x_name} {', '.join(places) or f'{min(xs):g} to {max(xs):g}'}: {ends}.",
        x_name=x_name,
        y_name=y_name,
        x_ticks=[Tick(x(i), name) for i, name in enumerate(places)] or x.ticks(least=1),
        y_ticks=y.ticks(),
        paths=paths,
        rule=Tick(x(rule[0]), rule[1]) if rule else None,
    )


def _range(values: Sequence[float], zero: bool = False) -> tuple[float, float]:
    """The ends of an axis: at least half of the largest value apart, and not below 0 for values that are not."""
    low, high = (0.0 if zero else min(values)), max(values)
    room = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    least = max(map(abs, values)) / 2
    start = min(low - room, high - least) if not zero else low
    return (max(start, 0.0) if low >= 0 else start), high + room


class Height(NamedTuple):
    """A bar's value with its interval."""

    style: str
    name: str
    value: float | None
    low: float | None = None
    high: float | None = None


def bars(
    title: str, groups: Sequence[tuple[str, str, Sequence[Height]]], y_name: str, x_name: str = "", unit: str = ""
) -> Chart:
    """Bars side by side in each group, from 0, with intervals.

    Args:
        groups: (name, note, bars); a bar without a value leaves a gap.
        unit: behind the numbers of the vertical axis.
    """
    ends = [v for _, _, heights in groups for h in heights for v in (h.value, h.high) if v is not None]
    y = Scale(0, (max(ends, default=0) or 1) * 1.05, BOTTOM - 8, TOP)
    step = (RIGHT - LEFT) / max(len(groups), 1)
    boxes, ticks = [], []
    for g, (name, note, heights) in enumerate(groups):
        left = LEFT + g * step
        ticks.append(Tick(round(left + step / 2, 1), name, note))
        width = step * 0.8 / max(len(heights), 1)
        for i, h in enumerate(heights):
            if h.value is None:
                continue
            top = y(h.value)
            interval = "" if h.low is None or h.high is None else f" (95 % interval {h.low:.2f} to {h.high:.2f})"
            boxes.append(
                Bar(
                    h.style,
                    round(left + step * 0.1 + i * width, 1),
                    top,
                    round(width * 0.9, 1),
                    round(y(0) - top, 1),
                    f"{name}, {h.name}: {h.value:.2f}{interval}",
                    None if h.low is None else y(h.low),
                    None if h.high is None else y(h.high),
                )
            )
    names = ", ".join(dict.fromkeys(h.name for _, _, heights in groups for h in heights))
    return Chart(
        title,
        f"Bar chart of {y_name} for {', '.join(name for name, _, _ in groups)}; bars: {names}.",
        x_name=x_name,
        y_name=y_name,
        x_ticks=ticks,
        y_ticks=[tick._replace(label=tick.label + unit) for tick in y.ticks()],
        bars=boxes,
        bottom=int(y(0)),
    )


def heat(
    title: str,
    values: FloatArray,
    cases: npt.NDArray[np.integer],
    rows: Sequence[str],
    columns: Sequence[str],
    names: tuple[str, str],
    signed: bool = False,
    few: int = 50,
) -> Chart:
    """A matrix as squares with their numbers; ``signed``: negative values have another colour.

    Args:
        values: [rows, columns], NaN where there are no cases.
        cases: [rows, columns]; squares with fewer than ``few`` are faint.
        names: of the rows and of the columns.
    """
    height = 6 + 30 * len(rows) + 40
    width = (RIGHT - LEFT - 16) / len(columns)
    left, bottom = LEFT + 16, height - 40
    sizes = np.abs(values[(cases >= few) & ~np.isnan(values)])
    largest = float(sizes.max(initial=0)) or float(np.nanmax(np.abs(values), initial=0)) or 1.0
    squares = []
    for (i, j), number in np.ndenumerate(values):
        value = float(number)
        x, y = round(left + j * width, 1), bottom - 30 * (i + 1)
        n = int(cases[i, j])
        place = f"{names[0]} {rows[i]}, {names[1]} {columns[j]}"
        if n == 0 or np.isnan(value):
            squares.append(Square("none", x, y, round(width - 2, 1), 28, 0, "–", f"{place}: no cases", True))
            continue
        style = "worse" if signed and value < 0 else "better" if signed else "amount"
        text = _with_sign(value, 1) if signed else f"{value:.1f}"
        strength = round(0.06 + 0.5 * min(abs(value) / largest, 1), 3)
        label = f"{place}: {_with_sign(value, 2) if signed else f'{value:.2f}'}, {n:,} cases"
        squares.append(Square(style, x, y, round(width - 2, 1), 28, strength, text, label, n < few))
    return Chart(
        title,
        f"Heat map of {title}: rows {names[0]} ({', '.join(rows)}), columns {names[1]} ({', '.join(columns)}).",
        height=height,
        x_name=names[1],
        y_name=names[0],
        x_ticks=[Tick(round(left + (j + 0.5) * width, 1), name) for j, name in enumerate(columns)],
        y_ticks=[Tick(bottom - 30 * i - 16, name) for i, name in enumerate(rows)],
        squares=squares,
        left=left,
        top=bottom - 30 * len(rows),
        bottom=bottom,
    )


def scatter(
    title: str, points: FloatArray, styles: Sequence[str], description: str, numbers: Sequence[int] = ()
) -> Chart:
    """A square map of points [M, 2] without axes; styles are layers in the order of their first occurrence.

    Args:
        numbers: [M] of each point, among the names of the section.
    """
    size, margin = 340, 8
    low, high = np.quantile(points, 0.002, axis=0), np.quantile(points, 0.998, axis=0)
    inside = np.clip((points - low) / np.where(high > low, high - low, 1), 0, 1)
    pixels = np.rint((margin + inside * (size - 2 * margin)) * 2) / 2
    names = np.asarray(styles)
    dots: list[tuple[str, str]] = []
    order: list[int] = []
    for style in dict.fromkeys(styles):
        d = "".join(f"M{x:g} {y:g}h0" for x, y in pixels[names == style])
        dots.append((style, d))
        order += np.asarray(numbers)[names == style].tolist() if len(numbers) else []
    return Chart(title, description, size, size, dots=dots, points=order, left=0, right=size, top=0, bottom=size)


def arrows(
    title: str, moves: Sequence[tuple[str, str, Sequence[tuple[float, float]]]], x_name: str, y_name: str
) -> Chart:
    """Points with their names in the plane, each with its move.

    Args:
        moves: (style, name, [(x, y), ...]): the point last, before it at most the start of the move.
    """
    flat = np.array([point for _, _, points in moves for point in points], dtype=float)
    low, high = flat.min(0), flat.max(0)
    room = np.where(high > low, (high - low) * 0.18, 0.1)
    half = np.maximum((high - low) / 2 + room, np.abs(flat).max(0) / 4)  # a small move looks small
    (left, down), (right, up) = (low + high) / 2 - half, (low + high) / 2 + half
    height = 300
    x = Scale(left, right, LEFT, RIGHT)
    y = Scale(down, up, height - HEIGHT + BOTTOM, TOP + 14)
    labels = []
    for style, name, points in moves:
        at = [(x(a), y(b)) for a, b in points]
        anchor = "end" if at[-1][0] > WIDTH * 0.62 else "start"
        short = name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"
        labels.append(Label(style, at[-1], short, at[-2] if len(at) > 1 else None, anchor))
    positions = "; ".join(f"{name} at {x_name} {p[-1][0]:.2f}, {y_name} {p[-1][1]:.2f}" for _, name, p in moves)
    return Chart(
        title,
        f"Points: {positions}.",
        height=height,
        x_name=x_name,
        y_name=y_name,
        x_ticks=x.ticks(5),
        y_ticks=y.ticks(),
        labels=labels,
        top=TOP + 14,
        bottom=height - HEIGHT + BOTTOM,
    )


def _with_sign(value: float, digits: int) -> str:
    rounded = round(float(value), digits)
    return f"{rounded:+.{digits}f}".replace("-", "−") if rounded else f"{0:.{digits}f}"
