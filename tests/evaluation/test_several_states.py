"""Users with several states: an item's score is that of the state that suits it best."""

import pytest
import torch

from sage_pl.evaluation.ranks import full_ranks, sampled_ranks, top_k
from tests.golden.prepared import normal

USERS, STATES, ROWS = 9, 3, 22
VECTORS = normal(USERS, STATES, 5, seed=1).float()
TABLE = normal(ROWS, 5, seed=2).float()
ANSWERS = torch.arange(2, 2 + USERS)
SEEN = torch.tensor([[0, 1], [3, 5]]).repeat(5, 1)[:USERS]


def naive_scores() -> torch.Tensor:
    scores = torch.empty(USERS, ROWS)
    for user in range(USERS):
        for item in range(ROWS):
            scores[user, item] = max(float(state.double() @ TABLE[item].double()) for state in VECTORS[user])
    return scores


def naive_rank(user: int, candidates: list[int]) -> int:
    scores = naive_scores()[user]
    own = scores[ANSWERS[user]]
    higher = sum(bool(scores[item] > own) for item in candidates)
    return 1 + higher + (sum(bool(scores[item] == own) for item in candidates) + 1) // 2


def test_by_hand() -> None:
    """Item 1 suits the second state of the first user (3), item 2 the first (2); the second user has one, twice."""
    states = torch.tensor([[[1.0, 0], [0, 1]], [[1, 0], [1, 0]]])
    table = torch.tensor([[9.0, 9], [0, 3], [2, 0], [9, 9]])
    found = top_k(states, table, 2)
    assert found.ids.tolist() == [[1, 2], [2, 1]]
    assert found.scores.tolist() == [[3, 2], [2, 0]]
    assert full_ranks(states, table, torch.tensor([2, 2])).tolist() == [2, 1]
    assert sampled_ranks(states, table, torch.tensor([2, 2]), torch.tensor([[1], [1]])).tolist() == [2, 1]


@pytest.mark.parametrize("block", [1, 40, 2_000_000])
def test_ranks_equal_scoring_every_state_with_every_item(block: int) -> None:
    items = range(1, ROWS - 1)
    expected = [naive_rank(user, [i for i in items if i != ANSWERS[user]]) for user in range(USERS)]
    assert full_ranks(VECTORS, TABLE, ANSWERS, block=block).tolist() == expected
    for user in range(USERS):
        seen = SEEN[user].tolist()
        rest = [i for i in items if i != ANSWERS[user] and i not in seen]
        expected[user] = ROWS - 2 if int(ANSWERS[user]) in seen else naive_rank(user, rest)
    assert full_ranks(VECTORS, TABLE, ANSWERS, SEEN, block).tolist() == expected
    candidates = torch.tensor([[(i + 3) % 20 + 1, (i + 7) % 20 + 1] for i in range(2, 2 + USERS)])
    expected = [naive_rank(user, candidates[user].tolist()) for user in range(USERS)]
    assert sampled_ranks(VECTORS, TABLE, ANSWERS, candidates, block).tolist() == expected


@pytest.mark.parametrize("block", [1, 40, 2_000_000])
def test_the_best_items_are_those_of_the_best_states(block: int) -> None:
    scores = naive_scores()
    scores[:, [0, -1]] = -torch.inf
    found = top_k(VECTORS, TABLE, 4, block=block)
    expected = scores.topk(4, dim=1)
    assert found.ids.tolist() == expected.indices.tolist()
    torch.testing.assert_close(found.scores, expected.values)


def test_one_state_or_the_same_twice_is_all_the_same() -> None:
    one = VECTORS[:, 0]
    for several in (one[:, None], one[:, None].expand(-1, 4, -1)):
        assert torch.equal(full_ranks(several, TABLE, ANSWERS), full_ranks(one, TABLE, ANSWERS))
        assert torch.equal(top_k(several, TABLE, 5).ids, top_k(one, TABLE, 5).ids)
