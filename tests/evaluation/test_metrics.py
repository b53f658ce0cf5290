import doctest
import math

import numpy as np
import pytest
import torch

from sage_pl.evaluation import metrics
from sage_pl.evaluation.metrics import RankMetrics, summarise


def as_floats(metric: RankMetrics) -> dict[str, float]:
    return {name: value.item() for name, value in metric.compute().items()}


def test_docstring_example() -> None:
    assert doctest.testmod(metrics).attempted > 0
    assert doctest.testmod(metrics).failed == 0


@pytest.mark.parametrize(
    ("ranks", "hr", "ndcg", "mrr"),
    [
        pytest.param([1], 1, 1, 1, id="first"),
        pytest.param([10], 1, 1 / math.log2(11), 1 / 10, id="last that counts"),
        pytest.param([11], 0, 0, 0, id="just missed"),
        pytest.param([1, 3, 50], 2 / 3, (1 + 1 / 2) / 3, (1 + 1 / 3) / 3, id="mean of three"),
    ],
)
def test_values(ranks: list[int], hr: float, ndcg: float, mrr: float) -> None:
    metric = RankMetrics(ks=[10])
    metric.update(torch.tensor(ranks))
    assert as_floats(metric) == pytest.approx({"count": len(ranks), "hr@10": hr, "ndcg@10": ndcg, "mrr@10": mrr})


def test_groups_equal_separate_metrics_and_empty_groups_have_only_a_count() -> None:
    ranks = torch.tensor([1, 2, 30, 7])
    members = torch.tensor([[True, False, True, False], [False] * 4])
    metric = RankMetrics(["item_tail", "empty"], [5])
    metric.update(ranks, members)
    alone = RankMetrics(ks=[5])
    alone.update(ranks[members[0]])
    values = as_floats(metric)
    for name, value in as_floats(alone).items():
        assert values[f"{name}/item_tail"] == pytest.approx(value)
    assert {name: value for name, value in values.items() if "empty" in name} == {"count/empty": 0}


def test_two_processes_equal_one() -> None:
    generator = torch.Generator().manual_seed(0)
    ranks = torch.randint(1, 40, (50,), generator=generator)
    members = torch.rand(3, 50, generator=generator) < 0.4
    together, first, second = (RankMetrics(["a", "b", "c"]) for _ in range(3))
    together.update(ranks, members)
    first.update(ranks[:13], members[:, :13])
    second.update(ranks[13:], members[:, 13:])
    for name, reduction in first._reductions.items():  # what torchmetrics does with the gathered states
        setattr(first, name, reduction(torch.stack([getattr(first, name), getattr(second, name)])))  # type: ignore[operator, misc]
    assert as_floats(first) == pytest.approx(as_floats(together), abs=1e-12)


def test_agrees_with_ir_measures() -> None:
    ir_measures = pytest.importorskip("ir_measures")
    ranks = np.random.default_rng(0).integers(1, 31, 25)
    qrels = [ir_measures.Qrel(str(user), "answer", 1) for user in range(25)]
    run = [
        ir_measures.ScoredDoc(str(user), "answer" if place == rank else f"other{place}", -float(place))
        for user, rank in enumerate(ranks)
        for place in range(1, 31)
    ]
    measures = {
        f"{ours}@{k}": theirs @ k
        for k in (5, 10, 20)
        for ours, theirs in (("hr", ir_measures.Success), ("ndcg", ir_measures.nDCG), ("mrr", ir_measures.RR))
    }
    expected = ir_measures.calc_aggregate(measures.values(), qrels, run)
    ours = summarise(ranks, {})
    for name, measure in measures.items():
        assert ours[name] == pytest.approx(expected[measure], abs=1e-6), name


def test_summarise_leaves_out_cases_not_evaluated() -> None:
    tail = np.array([True, True, False])
    values = summarise(np.array([1, 0, 9]), {"item_tail": tail}, [5])
    assert (values["count"], values["hr@5"]) == (2, 0.5)
    assert (values["count/item_tail"], values["hr@5/item_tail"]) == (1, 1)


@pytest.mark.parametrize("ks", [[], [0, 5]], ids=["none", "zero"])
def test_refuses_cut_offs(ks: list[int]) -> None:
    with pytest.raises(ValueError, match="cut-off"):
        RankMetrics(ks=ks)


def test_update_refuses_bad_input() -> None:
    metric = RankMetrics(["item_tail"])
    with pytest.raises(ValueError, match=r"of shape \(1, 2\)"):
        metric.update(torch.tensor([1, 2]), torch.ones(2, 2, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"of shape \(1, 2\)"):
        metric.update(torch.tensor([1, 2]))
    with pytest.raises(ValueError, match="start at 1, got 0"):
        metric.update(torch.tensor([1, 0]), torch.ones(1, 2, dtype=torch.bool))
