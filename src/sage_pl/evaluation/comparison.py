"""Systems against a baseline on the same cases: means over seeds, intervals, tests and marks for every group of cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sage_pl.evaluation import statistics

SIGNIFICANT, UNCERTAIN = "*", "~"
FEW = 50  # cases; a group below it is marked in tables
Name = tuple[str, ...]
Groups = Mapping[str, npt.NDArray[np.bool_]]


@dataclass(frozen=True)
class System:
    """Ranks of one system on all cases of a data set.

    Args:
        name: one part for each key it is named by: ``("sage", "sasrec")``.
        ranks: protocol -> [n_seeds, K].
        fixed: it has no randomness (the popularity floor), so its seed noise is 0.

    Raises:
        ValueError: there are no seeds, or ranks below 1 (cases that were not evaluated).
    """

    name: Name
    ranks: Mapping[str, npt.NDArray[np.integer]]
    fixed: bool = False

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


class Against(NamedTuple):
    """A system minus its baseline in one group; None where it cannot be computed."""

    baseline: str
    difference: float | None
    low: float | None  # 95 % interval over users
    high: float | None
    p: float | None
    p_holm: float  # corrected over the groups of the table
    effect: float | None  # Cohen's d of the users' differences
    noise: float | None  # the difference that seeds alone may make; None with one seed
    mark: str


class Cell(NamedTuple):
    """One value of a table: a system's metric in a group."""

    protocol: str
    metric: str
    system: str
    group: str
    cases: int
    seeds: int  # 0: no randomness
    mean: float | None = None  # over seeds; None for a group without cases
    sd: float | None = None  # over seeds; None with one seed
    low: float | None = None  # 95 % interval over users
    high: float | None = None
    against: Against | None = None  # None for the baseline itself, and without one


def baseline_of(name: Name, baseline: Name) -> Name:
    """The baseline of a system: ``baseline`` replaces the first parts of its name, the other parts stay.

    >>> baseline_of(("sage", "gru4rec"), ("plain",))
    ('plain', 'gru4rec')
    """
    return baseline + name[len(baseline) :]


def compare(
    systems: Sequence[System],
    groups: Groups,
    protocol: str,
    metrics: Sequence[str],
    baselines: Mapping[Name, Name] | None = None,
    families: Sequence[Sequence[str]] | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> list[Cell]:
    """All values under one protocol, by metric, then system in the given order, then group.

    A user's gain is averaged over a system's seeds; then users are resampled (intervals) or their differences' signs
    flipped (p-values), the same way for all. A difference is marked

    - ``~`` if it is not above the noise of seeds, 2 sqrt(s_a^2 / n_a + s_b^2 / n_b), or that is unknown (one seed);
    - ``*`` if it is above, and significant over users: corrected p < 0.05.

    Args:
        systems: with ranks of the protocol, all for the same cases.
        groups: name -> [K].
        protocol: ``full`` or ``sampled100``.
        metrics: such as ``ndcg@10``.
        baselines: name of a system -> name of its baseline; systems that are missing there are not compared.
        families: names of groups that are tested together; Holm's correction covers one family of one metric and system.
            All groups are one family if left out.
        resamples: users' samples, and random signs.
        seed: of both.
    """
    members = np.stack(list(groups.values()), 1)
    rows = [(metric, system) for metric in metrics for system in systems]
    gains = [statistics.gains(system.ranks[protocol], metric) for metric, system in rows]
    by_user = np.stack([gain.mean(0) for gain in gains])
    by_seed = [statistics.group_means(gain, members) for gain in gains]
    samples = statistics.bootstrap_means(by_user, members, resamples, seed)
    low, high = statistics.interval(samples)
    pairs = _pairs(rows, baselines or {})
    differences = _differences(pairs, by_user, samples, members, resamples, seed)
    names, cells = list(groups), []
    columns = [[names.index(name) for name in family] for family in (families or [names])]
    against = {}
    for k, (a, b) in enumerate(pairs):
        noise = statistics.seed_noise(_repeated(rows[a][1], by_seed[a]), _repeated(rows[b][1], by_seed[b]))
        for j, one in _marked(rows[b][1].label, {key: v[k] for key, v in differences.items()}, noise, columns).items():
            against[a, j] = one
    for i, (metric, system) in enumerate(rows):
        seeds = 0 if system.fixed else len(gains[i])
        values = (by_seed[i].mean(0), statistics.standard_deviation(by_seed[i]), low[i], high[i])
        for j, group in enumerate(names):
            n, (mean, sd, *ends) = int(members[:, j].sum()), (_known(v[j]) for v in values)
            place = (protocol, metric, system.label, group)
            cells.append(Cell(*place, n, seeds, mean, sd, ends[0], ends[1], against.get((i, j))))
    return cells


def _pairs(rows: Sequence[tuple[str, System]], baselines: Mapping[Name, Name]) -> list[tuple[int, int]]:
    """Rows of a system and of its baseline under the same metric."""
    place = {(metric, system.name): i for i, (metric, system) in enumerate(rows)}
    wanted = {(metric, name): (metric, baselines.get(name, name)) for metric, name in place}
    return [(place[own], place[base]) for own, base in wanted.items() if own != base and base in place]


def _differences(
    pairs: Sequence[tuple[int, int]],
    by_user: statistics.FloatArray,
    samples: statistics.FloatArray,
    members: npt.NDArray[np.bool_],
    resamples: int,
    seed: int,
) -> dict[str, statistics.FloatArray]:
    """What users say about each pair of rows, [pairs, G] each."""
    if not pairs:
        return {}
    own, base = (list(side) for side in zip(*pairs, strict=True))
    differences = by_user[own] - by_user[base]
    low, high = statistics.interval(samples[:, own] - samples[:, base])
    return {
        "difference": statistics.group_means(differences, members),
        "low": low,
        "high": high,
        "p": statistics.sign_flip_p(differences, members, resamples, seed),
        "effect": statistics.cohens_d(differences, members),
    }


def _marked(
    baseline: str,
    values: Mapping[str, statistics.FloatArray],
    noise: statistics.FloatArray,
    families: Sequence[Sequence[int]],
) -> dict[int, Against]:
    """Group -> comparison with its mark, for groups with cases; all arrays [G]."""
    found = {}
    for family in families:
        corrected = statistics.holm(values["p"][family])
        for j, p in zip(family, corrected, strict=True):
            known = {key: _known(value[j]) for key, value in values.items()}
            if known["difference"] is None:
                continue
            above = abs(known["difference"]) > noise[j]  # False where the noise is unknown (NaN)
            mark = UNCERTAIN if not above else SIGNIFICANT if p < 0.05 else ""
            found[j] = Against(baseline, **known, p_holm=float(p), noise=_known(noise[j]), mark=mark)
    return found


class Agreement(NamedTuple):
    """Whether two protocols order systems alike, by a metric's overall mean."""

    metric: str
    protocols: tuple[str, str]
    winners: tuple[str, str]
    tau: float | None  # Kendall's tau-b; None where a protocol ranks all systems alike
    systems: int

    def __str__(self) -> str:
        (first, other), (winner, second) = self.protocols, self.winners
        verdict = (
            f"picks the same winner as {first} ({winner})"
            if winner == second
            else (f"picks {second}, {first} picks {winner}")
        )
        tau = "undefined" if self.tau is None else f"{self.tau:.2f}"
        return f"Rank agreement ({self.metric}): {other} {verdict}; Kendall tau {tau} over {self.systems} systems."


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
    return Agreement(metric, protocols, winners, _known(tau), len(names))


def _repeated(system: System, by_seed: statistics.FloatArray) -> statistics.FloatArray:
    """Means by seed; a system without randomness would give the same again."""
    return np.repeat(by_seed, 2, axis=0) if system.fixed else by_seed


def _known(value: float | np.floating) -> float | None:
    return None if np.isnan(value) else float(value)
