from __future__ import annotations

import dataclasses
import doctest
import itertools

import numpy as np
import pytest
from scipy import stats

from sage_pl.comparison import cells as comparison
from sage_pl.comparison import statistics
from sage_pl.comparison.cells import Cell, System, agreement, baseline_of, make_cells

PLAIN, SAGE, FLOOR = ("plain",), ("sage",), ("popularity",)
N = 120
GROUPS = {
    "overall": np.ones(N, bool),
    "even": np.arange(N) % 2 == 0,
    "odd": np.arange(N) % 2 == 1,
    "empty": np.zeros(N, bool),
}


def system(name: tuple[str, ...], *seeds: np.ndarray, fixed: bool = False) -> System:
    return System(name, {"full": np.stack(seeds)}, fixed)


def by_place(cells: list[Cell]) -> dict[tuple[str, str], Cell]:
    return {(cell.system, cell.group): cell for cell in cells}


def noisy(generator: np.random.Generator, misses: float, seeds: int) -> list[np.ndarray]:
    """Ranks of runs that miss some users; which, is each run's own draw."""
    return [np.where(generator.random(N) < misses, 99, 1) for _ in range(seeds)]


@pytest.fixture
def generator() -> np.random.Generator:
    return np.random.default_rng(0)


def test_docstring_example() -> None:
    assert doctest.testmod(comparison).attempted == 1
    assert doctest.testmod(comparison).failed == 0


def test_values_by_hand() -> None:
    half = np.where(np.arange(N) < N // 2, 1, 99)
    plain = system(PLAIN, np.full(N, 99), half)
    cells = by_place(make_cells([plain], GROUPS, "full", ["hr@10"], resamples=50))
    overall = cells["plain", "overall"]
    assert (overall.cases, overall.seeds, overall.mean) == (N, 2, 0.25)
    assert overall.sd == pytest.approx(np.std([0, 0.5], ddof=1))
    assert overall.low is not None
    assert overall.high is not None
    assert overall.low < 0.25 < overall.high
    assert overall.against is None
    assert cells["plain", "empty"] == Cell("full", "hr@10", "plain", "empty", 0, 2)


def test_users_are_averaged_over_seeds_before_they_are_tested(generator: np.random.Generator) -> None:
    a, b = noisy(generator, 0.3, 3), noisy(generator, 0.5, 2)
    cells = make_cells(
        [system(PLAIN, *b), system(SAGE, *a)], GROUPS, "full", ["hr@10"], {SAGE: PLAIN}, resamples=300, seed=4
    )
    against = by_place(cells)["sage", "odd"].against
    differences = (np.mean([r <= 10 for r in a], 0) - np.mean([r <= 10 for r in b], 0))[None]
    members = np.stack(list(GROUPS.values()), 1)
    p = statistics.sign_flip_p(differences, members, 300, 4)[0]
    assert against is not None
    assert against.baseline == "plain"
    assert against.difference == pytest.approx(differences[0, 1::2].mean())
    assert against.p == p[2]
    assert against.p_holm == statistics.holm(p)[2]  # over three groups, the empty one is no test
    seeds = [[np.mean(r[1::2] <= 10) for r in ranks] for ranks in (a, b)]
    welch = stats.ttest_ind(*seeds, equal_var=False).confidence_interval(0.95)
    assert against.noise == pytest.approx((welch.high - welch.low) / 2)
    assert against.low is not None
    assert against.high is not None
    assert against.low < against.difference < against.high


@pytest.mark.parametrize(
    ("misses", "seeds", "mark"),
    [
        pytest.param((0.9, 0.1), 3, "*", id="clear"),
        pytest.param((0.9, 0.1), 1, "~", id="clear, but one seed"),
        pytest.param((0.5, 0.5), 3, "~", id="same law"),
    ],
)
def test_marks(generator: np.random.Generator, misses: tuple[float, float], seeds: int, mark: str) -> None:
    base, other = (system(n, *noisy(generator, m, seeds)) for n, m in zip((PLAIN, SAGE), misses, strict=True))
    cells = by_place(make_cells([base, other], GROUPS, "full", ["ndcg@10"], {SAGE: PLAIN, PLAIN: PLAIN}, resamples=300))
    assert {cells["sage", group].against.mark for group in ("overall", "even", "odd")} == {mark}  # type: ignore[union-attr]
    assert cells["sage", "empty"].against is None
    assert cells["plain", "overall"].against is None


def test_above_the_noise_but_not_significant_has_no_mark() -> None:
    base = np.full(N, 99)
    few = np.where(np.arange(N) < 2, 1, 99)  # two users only, but the same for every seed
    cells = by_place(
        make_cells([system(PLAIN, base, base), system(SAGE, few, few)], GROUPS, "full", ["hr@10"], {SAGE: PLAIN})
    )
    assert cells["sage", "overall"].against.mark == ""  # type: ignore[union-attr]


def test_significant_over_users_but_inside_the_noise_of_seeds() -> None:
    base, good, bad = np.full(N, 99), np.full(N, 1), np.where(np.arange(N) % 12 == 0, 1, 99)
    cells = by_place(
        make_cells([system(PLAIN, base, base), system(SAGE, good, bad)], GROUPS, "full", ["hr@10"], {SAGE: PLAIN})
    )
    against = cells["sage", "overall"].against
    assert against is not None
    assert against.p_holm < 0.01
    assert against.mark == "~"


def test_the_floor_has_no_seed_noise(generator: np.random.Generator) -> None:
    floor = system(FLOOR, np.full(N, 99), fixed=True)
    cells = by_place(
        make_cells([floor, system(SAGE, *noisy(generator, 0.2, 2))], GROUPS, "full", ["hr@10"], {SAGE: FLOOR})
    )
    assert cells["popularity", "overall"].seeds == 0
    assert cells["popularity", "overall"].sd is None
    assert cells["sage", "overall"].against.mark == "*"  # type: ignore[union-attr]


def test_families_are_corrected_on_their_own(generator: np.random.Generator) -> None:
    pair = [system(PLAIN, *noisy(generator, 0.6, 2)), system(SAGE, *noisy(generator, 0.45, 2))]
    families = [["overall"], ["even", "odd"]]
    cells = by_place(make_cells(pair, GROUPS, "full", ["hr@10"], {SAGE: PLAIN}, families))
    overall, even, odd = (cells["sage", group].against for group in ("overall", "even", "odd"))
    assert overall is not None
    assert even is not None
    assert odd is not None
    assert overall.p_holm == overall.p
    assert [even.p_holm, odd.p_holm] == statistics.holm(np.array([even.p, odd.p])).tolist()
    assert even.p_holm > even.p


def test_several_metrics_at_once_equal_one_at_a_time(generator: np.random.Generator) -> None:
    pair = [system(name, *generator.integers(1, 30, (2, N))) for name in (PLAIN, SAGE)]
    together = make_cells(pair, GROUPS, "full", ["hr@10", "mrr@5"], {SAGE: PLAIN}, resamples=100)
    alone = [c for m in ("hr@10", "mrr@5") for c in make_cells(pair, GROUPS, "full", [m], {SAGE: PLAIN}, resamples=100)]
    assert len(together) == len(alone) == 16
    for one, other in zip(together, alone, strict=True):
        assert one[:4] == other[:4]
        assert one[4:-3] == pytest.approx(other[4:-3])
        assert (one.against is None) == (other.against is None)
        if one.against and other.against:
            assert one.against[1:-1] == pytest.approx(other.against[1:-1])
            assert one.against.mark == other.against.mark


def naive(a: np.ndarray, b: np.ndarray, members: np.ndarray, n: int, seed: int) -> list[dict[str, float]]:
    """All that is said about the difference of hr@10 in each group, by loops; a, b: ranks by seed."""
    draws, found = np.random.default_rng(seed), []
    samples = [draws.integers(0, N, N) for _ in range(n)]
    gain = {name: [[float(rank <= 10) for rank in run] for run in runs] for name, runs in (("a", a), ("b", b))}
    users = [float(np.mean([run[u] for run in gain["a"]]) - np.mean([run[u] for run in gain["b"]])) for u in range(N)]
    for group in members:
        own = [users[u] for u in range(N) if group[u]]
        resampled = [np.mean([users[u] for u in sample if group[u]]) for sample in samples]
        means = [[np.mean([run[u] for u in range(N) if group[u]]) for run in gain[name]] for name in ("a", "b")]
        welch = stats.ttest_ind(*means, equal_var=False).confidence_interval(0.95)
        test = stats.permutation_test((own,), np.mean, permutation_type="samples", n_resamples=20_000, rng=1)
        found.append(
            {
                "difference": sum(own) / len(own),
                "low": float(np.percentile(resampled, 2.5)),
                "high": float(np.percentile(resampled, 97.5)),
                "p": float(test.pvalue),
                "effect": float(np.mean(own) / np.std(own, ddof=1)),
                "noise": float(welch.high - welch.low) / 2,
            }
        )
    order = sorted(range(len(found)), key=lambda i: found[i]["p"])
    for place, i in enumerate(order):
        before = found[order[place - 1]]["p_holm"] if place else 0
        found[i]["p_holm"] = max(before, min(1, (len(found) - place) * found[i]["p"]))
    return found


def test_equals_a_naive_second_implementation(generator: np.random.Generator) -> None:
    a, b = np.stack(noisy(generator, 0.45, 3)), np.stack(noisy(generator, 0.55, 4))
    groups = {**GROUPS, "few": np.arange(N) < 30}
    del groups["empty"]
    cells = make_cells([system(PLAIN, *b), system(SAGE, *a)], groups, "full", ["hr@10"], {SAGE: PLAIN}, seed=5)
    found = by_place(cells)
    for group, wanted in zip(groups, naive(a, b, np.stack(list(groups.values())), 2000, 5), strict=True):
        against = found["sage", group].against
        assert against is not None
        for key, tolerance in {"p": 0.02, "p_holm": 0.06}.items():
            assert getattr(against, key) == pytest.approx(wanted.pop(key), abs=tolerance), (group, key)
        assert {key: getattr(against, key) for key in wanted} == pytest.approx(wanted), group


def test_two_systems_of_one_law_are_rarely_flagged(generator: np.random.Generator) -> None:
    flagged = 0
    for trial in range(150):
        pair = [system(name, *generator.integers(1, 30, (3, N))) for name in (PLAIN, SAGE)]
        cells = make_cells(pair, GROUPS, "full", ["ndcg@10"], {SAGE: PLAIN}, resamples=199, seed=trial)
        flagged += any(cell.against is not None and cell.against.mark == "*" for cell in cells)
    assert flagged / 150 <= 0.05


def test_the_null_experiment(generator: np.random.Generator) -> None:
    """Two copies of one model under different seeds; a seed moves all users together, as training does.

    Tests over users alone take such a shift for a finding; the noise of seeds must stop it.
    """
    n, trials = 400, 100
    groups = {f"group{i}": generator.random(n) < share for i, share in enumerate((0.2, 0.4, 0.6, 1))}
    found = []
    for trial, seeds in itertools.product(range(trials), (2, 3, 5)):
        skill, shift = generator.normal(-1, 1.5, n), generator.normal(0, 0.2, (2, seeds, 1))
        ranks = np.where(skill + shift + generator.normal(0, 0.7, (2, seeds, n)) > 0, 1, 99)
        pair = [system(name, *runs) for name, runs in zip((PLAIN, SAGE), ranks, strict=True)]
        cells = make_cells(pair, groups, "full", ["hr@10"], {SAGE: PLAIN}, resamples=199, seed=trial)
        found += [cell.against for cell in cells if cell.against]
    assert len(found) == trials * 3 * len(groups)
    assert np.mean([against.mark == "*" for against in found]) <= 0.05
    assert np.mean([against.p_holm < 0.05 for against in found]) > 0.2  # tests over users alone fail here


@pytest.mark.parametrize(
    ("name", "baseline", "wanted"),
    [
        (("sage",), ("plain",), ("plain",)),
        (("sage", "gru4rec"), ("plain",), ("plain", "gru4rec")),
        (("sage", "gru4rec"), ("plain", "sasrec"), ("plain", "sasrec")),
    ],
    ids=["one key", "same backbone", "exact"],
)
def test_baseline_of(name: tuple[str, ...], baseline: tuple[str, ...], wanted: tuple[str, ...]) -> None:
    assert baseline_of(name, baseline) == wanted


@pytest.mark.parametrize(
    "ranks", [np.zeros((1, 3), int), np.ones(3, int), np.ones((0, 3), int)], ids=["not evaluated", "flat", "no seeds"]
)
def test_bad_ranks_are_refused(ranks: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"ranks of sage under full must be \[n_seeds, K\]"):
        System(SAGE, {"full": ranks})


def overall(protocol: str, **means: float) -> list[Cell]:
    return [
        Cell(protocol, "hr@10", name, "overall", 10, 0 if name == "popularity" else 1, v) for name, v in means.items()
    ]


def test_agreement() -> None:
    full = overall("full", popularity=0.9, a=0.1, b=0.2, c=0.3)
    sampled = overall("sampled100", popularity=0.9, a=0.5, b=0.7, c=0.6)
    found = agreement([*full, *sampled], "hr@10", ("full", "sampled100"))
    assert found is not None
    assert (found.winners, found.systems) == (("c", "b"), 3)  # the floor is no system
    assert found.tau == pytest.approx(1 / 3)  # of three pairs, one is reversed
    assert str(found) == "Rank agreement (hr@10): sampled100 picks b, full picks c; Kendall tau 0.33 over 3 systems."


def test_agreement_needs_two_systems_that_differ() -> None:
    assert agreement(overall("full", a=0.1) + overall("x", a=0.1), "hr@10", ("full", "x")) is None
    same = agreement(overall("full", a=0.1, b=0.1) + overall("x", a=0.2, b=0.3), "hr@10", ("full", "x"))
    assert same is not None
    assert same.tau is None
    assert "Kendall tau undefined" in str(same)


@pytest.mark.parametrize("early", ["plain", "sage"])
def test_no_difference_to_or_from_a_system_that_is_not_converged_is_marked_as_significant(
    generator: np.random.Generator, early: str
) -> None:
    ranks = {PLAIN: noisy(generator, 0.8, 3), SAGE: noisy(generator, 0.1, 3)}
    done = [System(name, {"full": np.stack(each)}, converged=True) for name, each in ranks.items()]
    half = [dataclasses.replace(one, converged=one.label != early) for one in done]
    marks = []
    for systems in (done, half):
        cell = by_place(make_cells(systems, GROUPS, "full", ["hr@10"], {SAGE: PLAIN}, resamples=200))["sage", "overall"]
        assert cell.against is not None
        marks.append(cell.against.mark)
    assert marks == ["*", ""]


def test_an_agreement_on_a_winner_that_is_not_converged_is_no_finding() -> None:
    cells = [
        Cell(protocol, "hr@10", name, "overall", N, 3, mean, converged=name != "sage")
        for protocol in ("full", "sampled")
        for name, mean in (("plain", 0.1), ("sage", 0.2))
    ]
    text = str(agreement(cells, "hr@10", ("full", "sampled")))
    assert text.endswith("over 2 systems. No finding, since not converged: sage.")
