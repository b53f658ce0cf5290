"""Systems against a baseline on the same cases: means over seeds, intervals, tests and marks for every group of cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sage_pl.comparison import statistics

SIGNIFICANT, UNCERTAIN = "*", "~"
FEW, FEW_MARK = 50, "†"  # cases; tables mark smaller groups
UNCONVERGED, REFIT = "‡", "§"  # beside the name of a system
Name = tuple[str, ...]
Groups = Mapping[str, npt.NDArray[np.bool_]]


@dataclass(frozen=True)
class System:
    """Ranks of one system on all cases of a data set.

    Args:
        name: one part per key of ``by``: ``("sage", "sasrec")``.
        ranks: protocol -> [n_seeds, K].
        fixed: deterministic, as a floor; its seed noise is 0.
        converged: False where a run's best epoch is its last; None where it is unknown.
        refit: trained again on all events; the ranks are those of the runs that are repeated.

    Raises:
        ValueError: no seeds, or ranks below 1 (cases without evaluation).
    """

    name: Name
    ranks: Mapping[str, npt.NDArray[np.integer]]
    fixed: bool = False
    converged: bool | None = None
    refit: bool = False

    def __post_init__(self) -> None:
        for protocol, ranks in self.ranks.items():
            if ranks.ndim != 2 or not ranks.size or ranks.min() < 1:
                raise ValueError(
                    f"ranks of {self.label} under {protocol} must be [n_seeds, K], all evaluated (1 or higher); got shape "
                    f"{ranks.shape}{f' with minimum {ranks.min()}' if ranks.size else ''}"
                )

    @property
    def label(self) -> str:
        return "/".join(self.name)


def marks_of(converged: bool | None, refit: bool | None) -> list[str]:
    """The marks of a system's name."""
    return [*([UNCONVERGED] if converged is False else []), *([REFIT] if refit else [])]


class Against(NamedTuple):
    """A system minus its baseline in one group; None where undefined."""

    baseline: str
    difference: float | None
    low: float | None  # 95 % interval over users
    high: float | None
    p: float | None
    p_holm: float  # corrected over the groups of the table
    effect: float | None  # Cohen's d of the users' differences
    noise: float | None  # the difference that seeds alone may cause; None with one seed
    mark: str


class Cell(NamedTuple):
    """One value of a table: a system's metric in a group."""

    protocol: str
    metric: str
    system: str
    group: str
    cases: int
    seeds: int  # 0: deterministic
    mean: float | None = None  # over seeds; None for a group without cases
    sd: float | None = None  # over seeds; None with one seed
    low: float | None = None  # 95 % interval over users
    high: float | None = None
    against: Against | None = None  # None for the baseline itself, and where there is none
    converged: bool | None = None  # whether the system is; None: unknown, or not trained
    refit: bool = False

    @property
    def marked_system(self) -> str:
        """The system's name with its marks."""
        return " ".join([self.system, *marks_of(self.converged, self.refit)])


def baseline_of(name: Name, baseline: Name) -> Name:
    """The baseline of a system: ``baseline`` replaces the first parts of its name.

    >>> baseline_of(("sage", "gru4rec"), ("plain",))
    ('plain', 'gru4rec')
    """
    return baseline + name[len(baseline) :]


def make_cells(
    systems: Sequence[System],
    groups: Groups,
    protocol: str,
    metrics: Sequence[str],
    baselines: Mapping[Name, Name] | None = None,
    families: Sequence[Sequence[str]] | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> list[Cell]:
    """All values under one protocol, by metric, then system as ordered in ``systems``, then group.

    Gains are averaged over a system's seeds. Users are then resampled (intervals) or the signs of their differences
    flipped (p-values), with the same draw for all systems. A difference is marked

    - ``~`` if it is within the noise of seeds (:func:`statistics.seed_noise`), or that is unknown (one seed);
    - ``*`` if it is above, significant over users (corrected p < 0.05), and both systems are converged.

    Args:
        systems: with ranks of the protocol, all for the same cases.
        groups: name -> [K].
        protocol: ``full`` or ``sampled100``.
        metrics: such as ``ndcg@10``.
        baselines: name of a system -> name of its baseline; other systems get no test.
        families: names of groups that are tested together; Holm's correction covers one family of one metric and system.
            None: all groups are one family.
        resamples: number of users' samples and of random signs.
        seed: of both.
    """
    members = np.stack(list(groups.values()), 1)
    rows = [_Row.of(system, protocol, metric, members) for metric in metrics for system in systems]
    samples = statistics.bootstrap_means(np.stack([row.by_user for row in rows]), members, resamples, seed)
    names = list(groups)
    columns = [[names.index(name) for name in family] for family in (families or [names])]
    pairs = _pairs(rows, baselines or {})
    against = _against(rows, pairs, samples, members, columns, (resamples, seed))
    low, high = statistics.interval(samples)
    cells = []
    for i, row in enumerate(rows):
        values = (row.by_seed.mean(0), statistics.standard_deviation(row.by_seed), low[i], high[i])
        for j, group in enumerate(names):
            mean, sd, *ends = (_or_none(value[j]) for value in values)
            place = (protocol, row.metric, row.system.label, group, int(members[:, j].sum()), row.seeds)
            cells.append(
                Cell(*place, mean, sd, ends[0], ends[1], against.get((i, j)), row.system.converged, row.system.refit)
            )
    return cells


class _Row(NamedTuple):
    """A system under one metric."""

    system: System
    metric: str
    by_user: statistics.FloatArray  # [K] mean over seeds
    by_seed: statistics.FloatArray  # [n_seeds, G] group means

    @classmethod
    def of(cls, system: System, protocol: str, metric: str, members: npt.NDArray[np.bool_]) -> _Row:
        gains = statistics.gains(system.ranks[protocol], metric)
        return cls(system, metric, gains.mean(0), statistics.group_means(gains, members))

    @property
    def seeds(self) -> int:
        return 0 if self.system.fixed else len(self.by_seed)

    @property
    def by_any_seed(self) -> statistics.FloatArray:
        """Group means by seed; a deterministic system repeats its one row."""
        return np.repeat(self.by_seed, 2, axis=0) if self.system.fixed else self.by_seed


def _pairs(rows: Sequence[_Row], baselines: Mapping[Name, Name]) -> list[tuple[int, int]]:
    """Rows of a system and of its baseline under the same metric."""
    place = {(row.metric, row.system.name): i for i, row in enumerate(rows)}
    base_of = {(metric, name): (metric, baselines.get(name, name)) for metric, name in place}
    return [(place[row], place[base]) for row, base in base_of.items() if row != base and base in place]


def _against(
    rows: Sequence[_Row],
    pairs: Sequence[tuple[int, int]],
    samples: statistics.FloatArray,
    members: npt.NDArray[np.bool_],
    families: Sequence[Sequence[int]],
    draw: tuple[int, int],
) -> dict[tuple[int, int], Against]:
    """(row, group) -> comparison with the baseline's row; ``draw``: number and seed of the random signs."""
    if not pairs:
        return {}
    systems, bases = (list(side) for side in zip(*pairs, strict=True))
    differences = np.stack([rows[i].by_user - rows[j].by_user for i, j in pairs])
    low, high = statistics.interval(samples[:, systems] - samples[:, bases])
    values = {
        "difference": statistics.group_means(differences, members),
        "low": low,
        "high": high,
        "p": statistics.sign_flip_p(differences, members, *draw),
        "effect": statistics.cohens_d(differences, members),
    }
    comparisons: dict[tuple[int, int], Against] = {}
    for k, (i, j) in enumerate(pairs):
        noise = statistics.seed_noise(rows[i].by_any_seed, rows[j].by_any_seed)
        early = False in (rows[i].system.converged, rows[j].system.converged)
        by_group = _mark(rows[j].system.label, {key: value[k] for key, value in values.items()}, noise, families, early)
        comparisons |= {(i, group): against for group, against in by_group.items()}
    return comparisons


def _mark(
    baseline: str,
    values: Mapping[str, statistics.FloatArray],
    noise: statistics.FloatArray,
    families: Sequence[Sequence[int]],
    early: bool,
) -> dict[int, Against]:
    """Group -> comparison with its mark, for groups with cases; all arrays [G].

    ``early``: one of the two systems is not converged, so that no difference is marked as significant.
    """
    comparisons = {}
    for family in families:
        for j, p in zip(family, statistics.holm(values["p"][family]), strict=True):
            numbers = {key: _or_none(value[j]) for key, value in values.items()}
            if numbers["difference"] is None:
                continue
            above = abs(numbers["difference"]) > noise[j]  # False where the noise is unknown (NaN)
            mark = UNCERTAIN if not above else SIGNIFICANT if p < 0.05 and not early else ""
            comparisons[j] = Against(baseline, **numbers, p_holm=float(p), noise=_or_none(noise[j]), mark=mark)
    return comparisons


class Agreement(NamedTuple):
    """Whether two protocols order systems alike, by a metric's overall mean."""

    metric: str
    protocols: tuple[str, str]
    winners: tuple[str, str]
    tau: float | None  # Kendall's tau-b; None where a protocol ranks all systems alike
    systems: int
    early: tuple[str, ...] = ()  # winners that are not converged

    def __str__(self) -> str:
        (first, other), (winner, second) = self.protocols, self.winners
        same = f"picks the same winner as {first} ({winner})"
        verdict = same if winner == second else f"picks {second}, {first} picks {winner}"
        tau = "undefined" if self.tau is None else f"{self.tau:.2f}"
        doubt = f" No finding, since not converged: {', '.join(self.early)}." if self.early else ""
        return (
            f"Rank agreement ({self.metric}): {other} {verdict}; Kendall tau {tau} over {self.systems} systems.{doubt}"
        )


def agreement(cells: Sequence[Cell], metric: str, protocols: tuple[str, str]) -> Agreement | None:
    """Rank agreement of trained systems between two protocols; None for fewer than two systems."""
    from scipy.stats import kendalltau

    values = [
        {c.system: c.mean for c in cells if (c.protocol, c.metric, c.group) == (p, metric, "overall") and c.seeds}
        for p in protocols
    ]
    names = [name for name in values[0] if name in values[1]]
    if len(names) < 2:
        return None
    first, other = ([float(side[name] or 0) for name in names] for side in values)
    tau = float(kendalltau(first, other).statistic)
    winners = (names[int(np.argmax(first))], names[int(np.argmax(other))])
    converged = {cell.system: cell.converged for cell in cells}
    early = tuple(dict.fromkeys(name for name in winners if converged[name] is False))
    return Agreement(metric, protocols, winners, _or_none(tau), len(names), early)


def _or_none(value: float | np.floating) -> float | None:
    return None if np.isnan(value) else float(value)
