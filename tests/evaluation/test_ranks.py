import doctest
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sage_pl.evaluation import ranks
from sage_pl.evaluation.ranks import full_ranks, rank, sampled_ranks, top_k


def naive_rank(answer: float, others: Sequence[float]) -> int:
    higher = sum(other > answer for other in others)
    ties = sum(other == answer for other in others)
    return 1 + higher + ties // 2 + ties % 2


def naive_full_ranks(states: Tensor, table: Tensor, answers: Tensor, seen: Tensor | None = None) -> list[int]:
    n_items, result = len(table) - 2, []
    for user, answer in enumerate(answers.tolist()):
        masked = set() if seen is None else set(seen[user].tolist())
        scores = {item: float(states[user] @ table[item]) for item in range(1, n_items + 1)}
        others = [score for item, score in scores.items() if item != answer and item not in masked]
        result.append(n_items if answer in masked else naive_rank(scores[answer], others))
    return result


def small_problem(seed: int, n_users: int = 9, n_items: int = 12) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Whole-numbered vectors: exact scores with many ties."""
    generator = torch.Generator().manual_seed(seed)
    states = torch.randint(-2, 3, (n_users, 3), generator=generator).float()
    table = torch.randint(-2, 3, (n_items + 2, 3), generator=generator).float()
    answers = torch.randint(1, n_items + 1, (n_users,), generator=generator)
    seen = torch.randint(0, n_items + 1, (n_users, 4), generator=generator)
    return states, table, answers, seen


def test_docstring_example() -> None:
    assert doctest.testmod(ranks).attempted == 1
    assert doctest.testmod(ranks).failed == 0


@pytest.mark.parametrize(
    ("answer", "others", "expected"),
    [
        pytest.param(2.0, [1.0, 0.0], 1, id="best"),
        pytest.param(2.0, [3.0, 4.0], 3, id="worst"),
        pytest.param(2.0, [2.0], 2, id="one tie rounds up"),
        pytest.param(2.0, [2.0, 2.0], 2, id="half of two ties"),
        pytest.param(2.0, [2.0, 2.0, 2.0, 5.0], 4, id="three ties below one better"),
        pytest.param(2.0, [-torch.inf, -torch.inf], 1, id="masked candidates do not count"),
        pytest.param(2.0, [], 1, id="no other candidate"),
    ],
)
def test_rank(answer: float, others: list[float], expected: int) -> None:
    assert rank(torch.tensor([answer]), torch.tensor([others])).tolist() == [expected]


@given(st.lists(st.integers(0, 3), min_size=2, max_size=20))
def test_rank_equals_naive(scores: list[int]) -> None:
    values = torch.tensor([scores]).float()
    assert rank(values[:, 0], values[:, 1:]).item() == naive_rank(scores[0], scores[1:])


@pytest.mark.parametrize("answer", [torch.nan, 1.0], ids=["answer", "candidate"])
def test_rank_refuses_nan(answer: float) -> None:
    with pytest.raises(ValueError, match="NaN scores"):
        rank(torch.tensor([answer]), torch.tensor([[1.0, torch.nan if answer == 1 else 0.0]]))


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.sampled_from([1, 14, 30, 300, 1000, 2000]), st.booleans())
def test_full_ranks_equal_naive(seed: int, block: int, mask: bool) -> None:
    states, table, answers, seen = small_problem(seed)
    history = seen if mask else None
    assert full_ranks(states, table, answers, history, block).tolist() == naive_full_ranks(
        states, table, answers, history
    )


def test_rows_that_are_no_items_never_count() -> None:
    states, table, answers, _ = small_problem(0)
    expected = full_ranks(states, table, answers)
    table[[0, -1]] = torch.nan
    assert full_ranks(states, table, answers).equal(expected)


def test_answer_in_masked_history_ranks_last() -> None:
    states, table = torch.ones(2, 1), torch.tensor([0.0, 9.0, 1.0, 2.0, 0.0])
    seen = torch.tensor([[0, 1], [0, 2]])
    assert full_ranks(states, table[:, None], torch.tensor([1, 1]), seen).tolist() == [3, 1]


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.sampled_from([1, 300, 128 * 7, 128 * 40]))
def test_blocks_of_items_change_nothing(seed: int, block: int) -> None:
    """Vectors of no whole numbers, some of them equal, against all scores at once."""
    generator = torch.Generator().manual_seed(seed)
    states, table = torch.randn(6, 16, generator=generator), torch.randn(42, 16, generator=generator)
    table = table[torch.randint(0, 42, (42,), generator=generator)]
    answers, seen = (torch.randint(low, 41, size, generator=generator) for low, size in ((1, (6,)), (0, (6, 5))))
    scores = (states.double() @ table.double().T).float()
    scores[:, [0, -1]] = -torch.inf
    scores.scatter_(1, seen, -torch.inf)
    own, others = scores.gather(1, answers[:, None]), scores.scatter(1, answers[:, None], -torch.inf)
    expected = torch.where(own.isinf().squeeze(1), 40, rank(own.squeeze(1), others))
    assert full_ranks(states, table, answers, seen, block).equal(expected)
    found = top_k(states, table, 9, seen, block)
    torch.testing.assert_close(found.scores, scores.topk(9).values, atol=0, rtol=0)
    assert scores.gather(1, found.ids).equal(found.scores)
    assert all(len(set(ids)) == 9 for ids in found.ids.tolist())


@pytest.mark.parametrize("work", [full_ranks, top_k], ids=["ranks", "top k"])
def test_memory_is_bounded_in_users_and_in_items(work: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    widened: list[int] = []

    def recorded(x: Tensor) -> Tensor:
        widened.append(x.numel())
        return x.double()

    monkeypatch.setattr(ranks, "_wide", recorded)
    third = torch.arange(1, 301) if work is full_ranks else 3
    work(torch.randn(300, 4), torch.randn(20_002, 4), third, block=128 * 50)
    assert max(widened) <= 4 * 128 * 50


@pytest.mark.parametrize("block", [2_000_000, 64_000], ids=["one block", "blocks of items"])
@pytest.mark.parametrize("n_users", [1, 2, 3, 7, 64])
def test_equal_items_tie_whatever_the_batch_size(n_users: int, block: int) -> None:
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(n_users, 64, generator=generator)
    table = torch.randn(1, 64, generator=generator).expand(1003, 64).contiguous()
    answers = torch.arange(1, n_users + 1)
    assert full_ranks(states, table, answers, block=block).tolist() == [501] * n_users
    assert sampled_ranks(states, table, answers, torch.arange(100, 200).expand(n_users, -1)).tolist() == [51] * n_users


def test_ranks_do_not_depend_on_the_batch() -> None:
    states, table = torch.randn(50, 32), torch.randn(202, 32)
    answers = torch.randint(1, 201, (50,))
    one_by_one = [full_ranks(states[[i]], table, answers[[i]]) for i in range(50)]
    assert full_ranks(states, table, answers).equal(torch.cat(one_by_one))


@pytest.mark.parametrize("answer", [0, 13], ids=["padding", "mask token"])
def test_full_ranks_refuse_answers_that_are_no_items(answer: int) -> None:
    states, table, answers, _ = small_problem(0)
    answers[3] = answer
    with pytest.raises(ValueError, match=r"item ids 1\.\.12"):
        full_ranks(states, table, answers)


@pytest.mark.parametrize("n_users", [9, 0], ids=["some", "none"])
def test_sampled_equals_full_when_all_items_are_candidates(n_users: int) -> None:
    states, table, answers, _ = small_problem(1, n_users)
    everything = torch.arange(1, 13).expand(n_users, -1)
    others = everything[everything != answers[:, None]].view(n_users, 11)
    expected = full_ranks(states, table, answers)
    assert sampled_ranks(states, table, answers, others).equal(expected)
    assert sampled_ranks(states, table, answers, others, block=1).equal(expected)


@pytest.mark.parametrize("block", [22, 128 * 4, 2_000_000])
@pytest.mark.parametrize("mask", [False, True], ids=["keep", "mask seen"])
def test_top_k_equals_sorting(mask: bool, block: int) -> None:
    states, table = torch.randn(6, 4), torch.randn(11, 4)
    seen = torch.randint(0, 10, (6, 3))
    found = top_k(states, table, 3, seen if mask else None, block)
    for user in range(6):
        allowed = [item for item in range(1, 10) if not mask or item not in seen[user].tolist()]
        best = sorted(allowed, key=lambda item: -float(states[user] @ table[item]))[:3]
        assert found.ids[user].tolist() == best
        torch.testing.assert_close(found.scores[user], table[best] @ states[user])


@pytest.mark.parametrize("block", [1, 2_000_000])
def test_top_k_pads_where_too_few_items_are_left(block: int) -> None:
    table = torch.tensor([[9.0], [1.0], [3.0], [2.0], [9.0]])
    found = top_k(torch.ones(1, 1), table, 7, torch.tensor([[2, 0]]), block)
    assert found.ids.tolist() == [[3, 1, 0, 0, 0, 0, 0]]
    assert found.scores[0, 2:].tolist() == [-torch.inf] * 5


def test_top_k_refuses_bad_input() -> None:
    with pytest.raises(ValueError, match="at least 1, got 0"):
        top_k(torch.ones(1, 1), torch.ones(3, 1), 0)
    with pytest.raises(ValueError, match="NaN scores"):
        top_k(torch.full((1, 1), torch.nan), torch.ones(3, 1), 1)
