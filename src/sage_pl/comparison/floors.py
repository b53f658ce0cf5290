"""The floor of a table: the best ranker without training, of those that the runs stored and those that are runs themselves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sage_pl.comparison import statistics
from sage_pl.comparison.cells import System
from sage_pl.comparison.ranks import RunRanks
from sage_pl.evaluation.floors import is_floor, label

ANY = "floor"  # baseline=floor: the best one


def stored(tests: Iterable[RunRanks]) -> list[System]:
    """The floors that runs stored. Text floors of one name may differ by run."""
    return [
        System((label(floor),), {protocol: one[None] for protocol, one in ranks.items()}, fixed=True)
        for test in tests
        for floor, ranks in test.floors().items()
    ]


def with_floor(
    models: Sequence[System], floors: Sequence[System], protocol: str, metric: str, name: str = ANY
) -> list[System]:
    """The systems of a table, the floor first, which is the best by ``metric``.

    A run of a method without training is the floor, in place of a stored one, where it is at least as good. Of equal ones, to 6
    decimals, the first by name is taken.

    Args:
        models: the compared systems.
        floors: the stored ones.
        protocol: of the table; systems without its ranks are left out.
        metric: the first of the table.
        name: the stored floor to take.
    """
    models = [system for system in models if protocol in system.ranks]
    candidates = [one for one in floors if protocol in one.ranks and name in (ANY, one.label.removeprefix(label("")))]
    if name == ANY:
        candidates += [system for system in models if system.fixed]
    if not candidates:
        return models
    best = min(candidates, key=lambda one: (-round(overall(one, protocol, metric), 6), is_floor(one.label), one.label))
    return [best, *(system for system in models if system is not best)]


def standing(systems: Sequence[System], floors: Sequence[System], protocol: str, metric: str) -> list[str]:
    """Lines on a table whose first system is its floor: all floors, and the trained systems that are below."""
    if not systems[0].fixed:
        return []
    floor, *others = systems
    values = {one.label: overall(one, protocol, metric) for one in floors if protocol in one.ranks}
    values |= {one.label: overall(one, protocol, metric) for one in systems if one.fixed}
    texts = [f"{name.removeprefix(label(''))} {100 * value:.2f}" for name, value in _descending(values)]
    lines = [f"Floors under {protocol} by {metric}: {', '.join(texts)}."]
    least = values[floor.label]
    below = {one.label: value for one in others if not one.fixed and (value := overall(one, protocol, metric)) < least}
    if below:
        texts = [f"{name} {100 * value:.2f}" for name, value in _descending(below)]
        lines.append(f"Below the {_floor(floor.label)} under {protocol}: {', '.join(texts)}.")
    return lines


def overall(system: System, protocol: str, metric: str) -> float:
    """The mean over all cases and seeds."""
    return float(statistics.gains(system.ranks[protocol], metric).mean())


def _descending(values: dict[str, float]) -> list[tuple[str, float]]:
    return sorted(values.items(), key=lambda pair: -pair[1])


def _floor(name: str) -> str:
    return name if name.startswith(label("")) else label(name)
