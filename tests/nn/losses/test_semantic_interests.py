"""EIMF: who is typical, and both tasks by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sage_pl.nn.losses.contrastive import InfoNCE
from sage_pl.nn.losses.semantic_interests import InterestAlignment, SemanticPrediction, mean_interest, typical_rows
from tests.golden.prepared import context, normal, write

TEXT, DIM = 3, 4
COUNTS = [0, 2, 0, 1, 1]  # interests of user 0 (nobody), 1, 2, 3, 4


@pytest.fixture
def interests(tmp_path: Path) -> str:
    values = np.arange(1, 13, dtype=np.float16).reshape(4, TEXT)
    return write(tmp_path / "interests", values=values, offsets=np.concatenate([[0], np.cumsum(COUNTS)]))


def step_of(hidden: torch.Tensor, term: Any, users: list[int]) -> Any:
    batch: Any = {"user": torch.tensor(users), "state_rows": torch.arange(len(users))}
    batch["draws"] = {term.name: term.draw(batch, 0)}
    return context(batch=batch, hidden=hidden)


def test_the_nearest_to_each_centre_are_typical() -> None:
    """Clusters around 0 and 100: a half of two, and of three users, are one and two."""
    vectors = torch.tensor([0.0, -1.0, 5.0, 99.0, 100.0, 104.0, 50.0])[:, None].expand(-1, 2)
    described = torch.tensor([True] * 6 + [False])
    # centres at 4 / 3 and 101: distances 1.3, 2.3, 3.7 and 2, 1, 3
    assert typical_rows(vectors, described, 0.5, 2, 0).tolist() == [True, True, False, True, True, False, False]
    assert typical_rows(vectors, described, 0.1, 2, 0).tolist() == [True, False, False, False, True, False, False]
    assert typical_rows(vectors, described, 1.0, 2, 0).tolist() == described.tolist()


def test_a_users_text_is_the_mean_of_the_described_interests(interests: str) -> None:
    term = InterestAlignment(0.1, interests, 4, DIM, typical=1.0)
    assert term.semantic.tolist() == [[0, 0, 0], [2.5, 3.5, 4.5], [0, 0, 0], [7, 8, 9], [10, 11, 12]]
    assert term.typical.tolist() == [False, True, False, True, True]
    assert not {"semantic"} & term.state_dict().keys()


def test_an_interest_that_stands_for_an_absent_one_does_not_count() -> None:
    states = torch.tensor([[[1.0, 2.0], [3.0, 0.0], [1.0, 2.0]], [[4.0, 4.0], [4.0, 4.0], [4.0, 4.0]]])
    torch.testing.assert_close(mean_interest(states), torch.tensor([[2.0, 1.0], [4.0, 4.0]]))


def test_alignment_by_hand(interests: str) -> None:
    """Of users 4, 2 and 1 the second has no interests; several interests of behaviour are read by their mean."""
    term = InterestAlignment(0.1, interests, 4, DIM, typical=1.0, temperature=0.5).double()
    hidden = normal(3, 2, 3, DIM)
    loss = term(step_of(hidden, term, [4, 2, 1]))
    states = term.project(hidden[[0, 2], -1].mean(1))
    expected = InfoNCE()(states, torch.tensor([[10.0, 11, 12], [2.5, 3.5, 4.5]]).double(), 0.5)
    torch.testing.assert_close(loss, expected, atol=1e-12, rtol=0)


def test_prediction_by_hand(interests: str) -> None:
    term = SemanticPrediction(0.1, interests, 4, DIM, typical=1.0).double()
    hidden = normal(2, 3, DIM)
    loss = term(step_of(hidden, term, [3, 2]))
    wide = (hidden[0, -1] @ term.hidden.weight.T + term.hidden.bias).clamp(min=0)
    predicted = wide @ term.project.weight.T + term.project.bias
    text = torch.tensor([7.0, 8, 9]).double()
    expected = 1 - predicted @ text / predicted.norm() / text.norm()
    torch.testing.assert_close(loss, expected, atol=1e-12, rtol=0)
    assert term(step_of(hidden, term, [2, 2])).item() == 0, "nobody is typical"


def test_only_typical_users_and_the_terms_weights_learn(interests: str) -> None:
    for kind in (InterestAlignment, SemanticPrediction):
        torch.manual_seed(0)
        term = kind(0.1, interests, 4, DIM, typical=0.1, clusters=2).double()
        assert int(term.typical.sum()) == 2
        hidden = normal(4, 2, DIM).requires_grad_()
        term(step_of(hidden, term, [1, 2, 3, 4])).backward()
        assert hidden.grad is not None
        assert hidden.grad[:, -1].any(1).tolist() == term.typical[1:].tolist()
        assert not hidden.grad[:, 0].any()
        assert all(p.grad is not None and p.grad.any() for p in term.parameters())


def test_interests_of_other_users_are_refused(interests: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds 4 interests of 4 users, wanted some of 9"):
        InterestAlignment(0.1, interests, 9, DIM)
    nobody = write(tmp_path / "none", values=np.zeros((0, TEXT), np.float16), offsets=np.zeros(6, np.int64))
    with pytest.raises(ValueError, match="holds 0 interests of 4 users"):
        InterestAlignment(0.1, nobody, 4, DIM)
