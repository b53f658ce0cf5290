"""Ranks and lists from rows of scores are those from inner products, and those of a naive count in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from sage_pl.errors import SettingError
from sage_pl.evaluation import rows as module
from sage_pl.evaluation.ranks import full_ranks, sampled_ranks, top_k
from sage_pl.evaluation.rows import products, row_ranks, row_top_k

USERS, N, E = 7, 40, 3
SEEN = torch.tensor([[0, 0, 3], [0, 5, 5], [0, 0, 0], [7, 8, 9], [0, 1, 2], [0, 0, 40], [0, 11, 12]])
ANSWERS = torch.tensor([3, 6, 9, 10, 40, 1, 13])  # the first is masked itself


@pytest.fixture(params=[1, 4], ids=["one state", "several states"])
def model(request: pytest.FixtureRequest) -> tuple[Tensor, Tensor]:
    """States and a table of small whole numbers, so that many scores tie."""
    generator = torch.Generator().manual_seed(0)
    shape = (USERS, E) if request.param == 1 else (USERS, request.param, E)
    return torch.randint(-2, 3, shape, generator=generator).float(), torch.randint(
        -2, 3, (N + 2, E), generator=generator
    ).float()


def dense(states: Tensor, table: Tensor) -> np.ndarray:
    scores = states.double() @ table.double().T
    return (scores.amax(1) if scores.ndim == 3 else scores).numpy()


@pytest.mark.parametrize("seen", [None, SEEN], ids=["keep", "mask"])
@pytest.mark.parametrize("small", [False, True], ids=["one block", "blocks"])
def test_ranks_and_lists_are_those_of_a_dense_count(
    model: tuple[Tensor, Tensor], seen: Tensor | None, small: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if small:
        for name, value in (("_SCORES", 3 * (N + 2)), ("_USERS", 2), ("_ITEMS", 5)):
            monkeypatch.setattr(module, name, value)
    states, table = model
    candidates = torch.arange(1, 6).expand(USERS, 5).clone()
    candidates[candidates == ANSWERS[:, None]] = 39
    got = row_ranks(products(states, table), ANSWERS, seen, candidates)
    assert torch.equal(got["full"], full_ranks(states, table, ANSWERS, seen))
    assert torch.equal(got["sampled5"], sampled_ranks(states, table, ANSWERS, candidates))
    scores = dense(states, table)
    for user, answer in enumerate(ANSWERS.tolist()):
        masked = set() if seen is None else set(seen[user].tolist())
        others = [scores[user, i] for i in range(1, N + 1) if i != answer and i not in masked]
        higher, ties = sum(s > scores[user, answer] for s in others), sum(s == scores[user, answer] for s in others)
        assert got["full"][user] == (N if answer in masked else 1 + higher + (ties + 1) // 2)
    best, expected = row_top_k(products(states, table), 50, seen), top_k(states, table, 50, seen)
    assert torch.equal(best.scores, expected.scores)
    for one, other in zip(best.ids.tolist(), expected.ids.tolist(), strict=True):
        assert set(one) == set(other)


def test_only_allowed_items_are_listed(model: tuple[Tensor, Tensor]) -> None:
    allowed = torch.zeros(N + 2, dtype=torch.bool)
    allowed[[4, 9, 12]] = True
    best = row_top_k(products(*model), 5, SEEN, allowed)
    expected = top_k(*model, 5, SEEN, allowed=allowed)
    assert torch.equal(best.scores, expected.scores)
    assert set(best.ids.flatten().tolist()) <= {0, 4, 9, 12}


def test_what_cannot_be_ranked_is_an_error(model: tuple[Tensor, Tensor]) -> None:
    states, table = model
    with pytest.raises(SettingError, match="k must be at least 1"):
        row_top_k(products(states, table), 0)
    with pytest.raises(SettingError, match="NaN"):
        row_top_k(products(states * torch.nan, table), 3)
    with pytest.raises(SettingError, match="NaN"):
        row_ranks(products(states * torch.nan, table), ANSWERS)
