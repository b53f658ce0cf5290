"""Metrics over a number that varies between the systems of a comparison, as a sweep of a weight leaves them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sage_pl.report import labels
from sage_pl.report.blocks import Block, Figure, MissingError, Section
from sage_pl.report.charts import Chart
from sage_pl.report.drawing import Series, lines
from sage_pl.report.reading import Record, Subject

NAME, TITLE = "curves", "Over a varied number"
_LEAST = 3  # values of which a curve is made
_STYLES = 8  # curves that a figure can tell apart
_GROUPS = ("overall", "item_head", "item_tail")
_TEXT = (
    "{metric} in percent, {protocol}, over {key}; the values are evenly spaced. Bands: 95 % intervals over the test users, "
    "without the noise of seeds."
)


def make(subject: Subject, by: Sequence[str]) -> Section:
    """A figure for each key of ``by`` that has three numbers or more; the other keys name the curves.

    Raises:
        MissingError: no key of ``by`` varies over so many numbers.
    """
    blocks: list[Block] = []
    for key in by:
        values = {name: runs[0].run.name_by(key) for name, runs in subject.systems.items()}
        numbers = {text: float(text) for text in values.values() if _is_number(text)}
        if len(numbers) < _LEAST:
            continue
        ordered = sorted(numbers, key=lambda text: numbers[text])
        curves = _curves(subject, values, ordered, [other for other in by if other != key])
        for metric in subject.metrics:
            for first in range(0, len(curves), _STYLES):
                some = dict(list(curves.items())[first : first + _STYLES])
                styles = {name: f"s{number}" for number, name in enumerate(some)}
                what = [(key, metric, group) for group in _GROUPS]
                drawn = [_chart(subject, some, styles, ordered, one) for one in what]
                text = _TEXT.format(
                    metric=labels.metric(metric), protocol=labels.protocol(subject.protocols[0]), key=key
                )
                legend = {styles[name]: name for name in some} if len(curves) > 1 else {}
                title = f"{labels.metric(metric)} over {key}"
                blocks.append(Figure(title, text, [chart for chart in drawn if chart is not None], legend))
    if not blocks:
        raise MissingError(f"no key of by={','.join(by)} has {_LEAST} numbers or more")
    return Section(NAME, TITLE, blocks)


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _curves(
    subject: Subject, values: Mapping[str, str], ordered: Sequence[str], others: Sequence[str]
) -> dict[str, dict[int, str]]:
    """Curve -> position -> system. A system without a number is in none."""
    curves: dict[str, dict[int, str]] = {}
    for system, text in values.items():
        if text in ordered:
            run = subject.first(system).run
            name = "/".join(run.name_by(other) for other in others) or subject.dataset
            curves.setdefault(name, {}).setdefault(ordered.index(text), system)
    return curves


def _chart(
    subject: Subject,
    curves: Mapping[str, Mapping[int, str]],
    styles: Mapping[str, str],
    ordered: Sequence[str],
    what: tuple[str, str, str],
) -> Chart | None:
    key, metric, group = what
    series = []
    for name, systems in curves.items():
        found: list[tuple[int, Record]] = []
        for position, system in sorted(systems.items()):
            record = subject.find(system, group, metric=metric)
            if record is not None and record.mean is not None:
                found.append((position, record))
        if found:
            ends: dict[str, Any] = {}
            if all(record.low is not None and record.high is not None for _, record in found):
                ends = {side: [100 * getattr(record, side) for _, record in found] for side in ("low", "high")}
            positions = [float(position) for position, _ in found]
            series.append(Series(styles[name], name, positions, [100 * (r.mean or 0) for _, r in found], **ends))
    return (
        lines(labels.group(group), series, key, places=ordered, y_name=f"{labels.metric(metric)}, %")
        if series
        else None
    )
