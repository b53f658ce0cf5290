import pytest
import torch

from sage_pl.evaluation.metrics import RankMetrics
from sage_pl.nn.decoders.collisions import expected_hits
from sage_pl.types import TopK


def found_of(groups: list[int]) -> TopK:
    """One user; items 1, 2, ... in groups of one score each, the best group first."""
    scores = [-float(place) for place, size in enumerate(groups) for _ in range(size)]
    return TopK(torch.arange(1, len(scores) + 1)[None], torch.tensor([scores]))


@pytest.mark.parametrize(
    ("above", "own", "hit", "gain"),
    [([], 1, 1, 1), ([1, 1], 1, 1, 0.5), ([4, 4], 4, 0.5, 0.1475), ([4, 4, 4], 4, 0, 0)],
    ids=["best", "third", "half", "beyond"],
)
def test_by_hand(above: list[int], own: int, hit: float, gain: float) -> None:
    answer = torch.tensor([sum(above) + 1])
    got = expected_hits(found_of([*above, own, 2]), answer)
    assert got["item_hr@10"].item() == pytest.approx(hit)
    assert got["item_ndcg@10"].item() == pytest.approx(gain, abs=5e-5)


def test_without_collisions_they_are_the_usual_metrics() -> None:
    scores = torch.randn(50, 30, generator=torch.Generator().manual_seed(0))
    answers = torch.randint(1, 31, (50,))
    found = TopK(torch.arange(1, 31)[None], scores)
    ranks = 1 + (scores > scores.gather(1, answers[:, None] - 1)).sum(1)
    usual = RankMetrics(ks=[5, 10, 20])
    usual.update(ranks)
    expected = usual.compute()
    for name, value in expected_hits(found, answers).items():
        assert value.item() == pytest.approx(expected[name.removeprefix("item_")].item(), abs=1e-6)


def test_what_was_not_found_or_seen_before_counts_nothing() -> None:
    found = found_of([1, 1, 1])
    assert expected_hits(found, torch.tensor([9]))["item_hr@20"] == 0
    assert expected_hits(found, torch.tensor([2]), torch.tensor([[2, 0]]))["item_hr@20"] == 0
    assert expected_hits(found, torch.tensor([2]), torch.tensor([[1, 0]]))["item_ndcg@5"] == 1
