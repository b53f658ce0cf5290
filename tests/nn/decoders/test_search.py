from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sage_pl.evaluation.ranks import occurs
from sage_pl.nn.decoders.search import answer_ranks, beam_search, best
from sage_pl.types import TopK
from tests.nn.decoders.tiny import CODES, NETWORKS, SHARED, make_decoder, make_memory, prefixes, random_codes


@pytest.mark.parametrize("codes", [CODES, SHARED, random_codes(0, 40, (5, 3, 4))], ids=["tiny", "shared", "random"])
@pytest.mark.parametrize("normalise", ["children", "codes"])
@pytest.mark.parametrize("name", NETWORKS)
def test_beams_for_every_prefix_rank_as_scoring_every_item(
    name: str, normalise: str, codes: list[list[int]], tmp_path: Path
) -> None:
    sizes = (5, 3, 4)[: len(codes[0])]
    decoder = make_decoder(tmp_path, name, codes, sizes, normalise=normalise)
    memory = make_memory(decoder)
    scores = decoder.all_log_probs(memory)
    found = best(beam_search(decoder, memory, prefixes(codes)), len(codes) + 2)
    torch.testing.assert_close(found.scores[:, :-2], scores.sort(descending=True).values, atol=1e-10, rtol=0)
    torch.testing.assert_close(scores.gather(1, found.ids[:, :-2] - 1), found.scores[:, :-2], atol=1e-10, rtol=0)
    assert found.ids[:, -2:].eq(0).all()  # no item is invented
    assert found.scores[:, -2:].eq(-torch.inf).all()


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    n_items=st.integers(1, 40),
    width=st.integers(1, 12),
    unique=st.booleans(),
    name=st.sampled_from(NETWORKS),
)
def test_whatever_the_weights_and_the_tree_every_result_is_an_item_and_none_comes_twice(
    seed: int, sizes: list[int], n_items: int, width: int, unique: bool, name: str
) -> None:
    codes = random_codes(seed, n_items, tuple(sizes), unique)
    with TemporaryDirectory() as folder:
        decoder = make_decoder(Path(folder), name, codes, sizes)
    for weight in decoder.parameters():
        torch.nn.init.normal_(weight, std=3, generator=torch.Generator().manual_seed(seed))
    memory = make_memory(decoder, 3, seed)
    seen = torch.randint(0, len(codes) + 1, (3, 4), generator=torch.Generator().manual_seed(seed))
    found = beam_search(decoder, memory, width)
    scores = decoder.all_log_probs(memory)
    for user in range(3):
        ids = found.ids[user][found.ids[user] > 0].tolist()
        assert len(ids) == len(set(ids)) >= min(width, len(codes))
        assert max(ids) <= len(codes)
        torch.testing.assert_close(
            found.scores[user][found.ids[user] > 0], scores[user, torch.tensor(ids) - 1], atol=1e-8, rtol=1e-8
        )
    kept = best(found, 5, seen)
    for user, ids in enumerate(kept.ids.tolist()):
        real = [item for item in ids if item]
        assert len(real) == len(set(real))
        assert not set(real) & set(seen[user].tolist())
        assert ids == real + [0] * (5 - len(real))
        assert (kept.scores[user].diff() <= 0)[: max(len(real) - 1, 0)].all()


def test_the_default_width_finds_almost_all_of_the_best(tmp_path: Path) -> None:
    codes = random_codes(3, 600, (16, 16, 16))
    decoder = make_decoder(tmp_path, codes=codes, sizes=(16, 16, 16))
    torch.nn.init.normal_(decoder.codes.weight, std=0.5, generator=torch.Generator().manual_seed(1))
    memory = make_memory(decoder, 100)
    wanted = best(TopK(torch.arange(1, len(codes) + 1)[None], decoder.all_log_probs(memory)), 10).ids
    recall = {}
    for width in (5, 10, decoder.width(10), prefixes(codes)):
        recall[width] = occurs(wanted, beam_search(decoder, memory, width).ids).float().mean().item()
    assert decoder.width(10) == 50
    assert decoder.width(20) == 100
    assert recall[5] < recall[10] < recall[50] <= recall[prefixes(codes)] == 1
    assert recall[50] > 0.97


def test_ranks_by_hand() -> None:
    found = TopK(torch.tensor([[4, 2, 9, 1], [3, 0, 0, 5]]), torch.tensor([[-1.0, -2, -2, -3], [-1, -9, -9, -2]]))
    found = TopK(found.ids, found.scores.masked_fill(found.ids == 0, -torch.inf))
    assert answer_ranks(found, torch.tensor([4, 3]), 20).tolist() == [1, 1]
    assert answer_ranks(found, torch.tensor([2, 5]), 20).tolist() == [3, 2]  # half of one tie, rounded up
    assert answer_ranks(found, torch.tensor([7, 6]), 20).tolist() == [20, 20]  # not found: the worst rank
    seen = torch.tensor([[4, 0], [5, 3]])
    assert answer_ranks(found, torch.tensor([1, 5]), 20, seen).tolist() == [3, 20]  # a repeated answer is a miss


def test_every_item_scored_ranks_by_brute_force() -> None:
    scores = torch.randn(6, 30, generator=torch.Generator().manual_seed(0)).round(decimals=1)
    answers, seen = torch.randint(1, 31, (6,)), torch.randint(0, 31, (6, 5))
    found = TopK(torch.arange(1, 31)[None], scores)
    for row, rank in enumerate(answer_ranks(found, answers, 30, seen).tolist()):
        answer, left = int(answers[row]), set(range(1, 31)) - set(seen[row].tolist())
        others = [scores[row, item - 1] for item in left - {answer}]
        own = scores[row, answer - 1]
        expected = 1 + sum(s > own for s in others) + (int(sum(s == own for s in others)) + 1) // 2
        assert rank == (expected if answer in left else 30)


def test_whether_an_item_was_seen() -> None:
    seen = torch.tensor([[0, 7, 3], [9, 9, 9]])
    assert occurs(torch.tensor([[3, 8, 9, 10]]), seen).tolist() == [
        [True, False, False, False],
        [False, False, True, False],
    ]


def test_nothing_is_recommended_by_nan_or_for_no_place() -> None:
    found = TopK(torch.tensor([[1, 2]]), torch.tensor([[torch.nan, 0.0]]))
    with pytest.raises(ValueError, match="NaN"):
        best(found, 1)
    with pytest.raises(ValueError, match="at least 1"):
        best(TopK(found.ids, torch.zeros(1, 2)), 0)
