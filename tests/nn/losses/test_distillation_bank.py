from typing import Any

import pytest
import torch
from torch import Tensor

from sage_pl.errors import SettingError
from sage_pl.nn.losses.contrastive import SoftTargets
from sage_pl.nn.losses.distillation import UserDistillation
from sage_pl.nn.losses.distillation_bank import BankDistillation
from tests.golden.prepared import N_ITEMS, HandStep, leaf, normal

TEACHERS = {1: [2, 3, 0], 2: [0, 0, 0], 3: [1, 0, 0], 4: [3, 1, 2]}


def step_of(users: list[int], seed: int = 3) -> HandStep:
    batch: Any = {
        "items": torch.ones(len(users), 2, dtype=torch.long),
        "state_rows": torch.arange(len(users)),
        "user": torch.tensor(users),
        "neighbour_users": torch.tensor([TEACHERS[user] for user in users]),
    }
    return HandStep(batch, leaf(normal(len(users), 2, 4, seed=seed)), leaf(normal(N_ITEMS + 2, 4, seed=1)))


def states(step: HandStep) -> Tensor:
    return step.hidden[:, -1].detach()


@pytest.mark.parametrize("kind", ["kd", "cl"])
def test_teachers_are_as_they_were_when_last_seen(kind: Any) -> None:
    """Users 1 and 2 are seen, then 3 and 4: user 3 learns from 1, user 4 from 1 and 2, for 3 is not known yet."""
    term, first, second = BankDistillation(0.1, 4, kind), step_of([1, 2]), step_of([3, 4], seed=5)
    assert term(first).item() == 0  # nobody is known before the first step, nor learns from the step itself
    means = torch.stack([states(first)[0], states(first).mean(0)])
    students = second.hidden[:, -1]
    wanted = (
        ((students - means) ** 2).mean() if kind == "kd" else SoftTargets(detach_targets=True)(students, means, 1.0)
    )
    loss = term(second)
    torch.testing.assert_close(loss, wanted, atol=1e-12, rtol=0)
    loss.backward()
    assert second.hidden.grad is not None
    assert second.hidden.grad.any(-1).tolist() == [[False, True], [False, True]]
    assert first.hidden.grad is None
    assert not first.encoded + second.encoded


def test_equals_the_exact_form_when_states_stand_still() -> None:
    """With every teacher's state in the bank, and none changed since, both forms are one number."""
    term, exact = BankDistillation(0.1, 4), UserDistillation(0.1)
    everybody = step_of([1, 2, 3, 4])
    term(everybody)
    again = step_of([1, 2, 3, 4])
    again.batch["neighbours"] = again.batch["neighbour_users"] - 1  # rows of the teachers' states below
    again.batch["users_with_teachers"] = (again.batch["neighbours"] >= 0).any(1).nonzero().flatten()
    again.batch["neighbour_items"] = [torch.tensor([[1], [2], [3], [4]])]
    again.encode = lambda items, dropout=False: states(everybody)  # type: ignore[method-assign]
    torch.testing.assert_close(term(step_of([1, 2, 3, 4])), exact(again), atol=1e-12, rtol=0)


def test_a_later_state_takes_the_place_of_an_earlier_one() -> None:
    term, later = BankDistillation(0.1, 4), step_of([1], seed=9)
    for step in (step_of([1]), later):
        term(step)
    student = step_of([3], seed=2)
    torch.testing.assert_close(term(student), ((states(student) - states(later)) ** 2).mean(), atol=1e-12, rtol=0)


def test_the_bank_is_saved_and_restored() -> None:
    term, fresh = BankDistillation(0.1, 4), BankDistillation(0.1, 4)
    fresh.load_state_dict(term.state_dict())  # before the first step
    term(step_of([1, 2]))
    fresh.load_state_dict(term.state_dict())
    assert term(step_of([3, 4], seed=5)).item() == fresh(step_of([3, 4], seed=5)).item() != 0


def test_nobody_to_learn_from_is_zero() -> None:
    term = BankDistillation(0.1, 4)
    term(step_of([1, 3]))
    assert term(step_of([2])).item() == 0


def test_a_further_encoding_is_refused() -> None:
    with pytest.raises(SettingError, match=r"loss\.fresh_dropout encodes users again"):
        BankDistillation(0.1, 5, fresh_dropout=True)
