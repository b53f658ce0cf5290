from typing import Any

import pytest
import torch
from torch import Tensor

from sage_pl.nn.losses.contrastive import SoftTargets
from sage_pl.nn.losses.distillation import UserDistillation, means_of
from tests.golden.prepared import N_ITEMS, HandStep, leaf, left_pad, normal

NEIGHBOURS = torch.tensor([[0, 2, -1], [-1, -1, -1], [1, -1, -1], [2, 1, 0]])
CHUNKS = [[[4], [7, 8]], [[1, 2, 3]]]  # teachers 0, 1 and 2


def step_of(neighbours: Tensor = NEIGHBOURS, order: list[int] | None = None, width: int = 0) -> HandStep:
    order = list(range(len(neighbours))) if order is None else order
    batch: Any = {
        "items": torch.ones(len(order), 2, dtype=torch.long),
        "state_rows": torch.tensor(order),
        "neighbours": neighbours[order],
        "users_with_teachers": (neighbours[order] >= 0).any(1).nonzero().flatten(),
        "neighbour_items": [left_pad(rows, width) for rows in CHUNKS],
    }
    return HandStep(batch, leaf(normal(len(order), 2, 4, seed=3)), leaf(normal(N_ITEMS + 2, 4, seed=1)))


def pairs(step: HandStep) -> tuple[Tensor, Tensor]:
    """States of the users that have teachers, and their teachers' means, by hand."""
    table = step.id_table.detach()
    teachers = [table[[4]].mean(0), table[[7, 8]].mean(0), table[[1, 2, 3]].mean(0)]
    means = [(teachers[0] + teachers[2]) / 2, teachers[1], (teachers[0] + teachers[1] + teachers[2]) / 3]
    return step.hidden[[0, 2, 3], -1], torch.stack(means)


def test_kd_is_the_squared_distance_to_the_mean_teacher() -> None:
    step = step_of()
    students, means = pairs(step)
    expected = sum(((u - v) ** 2).sum().item() for u, v in zip(students, means, strict=True)) / (3 * 4)
    assert UserDistillation(0.1)(step).item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_cl_contrasts_users_with_their_mean_teachers(temperature: float) -> None:
    step = step_of()
    term = UserDistillation(0.1, "cl", temperature)
    torch.testing.assert_close(
        term(step), SoftTargets(detach_targets=True)(*pairs(step), temperature), atol=1e-12, rtol=0
    )


@pytest.mark.parametrize("kind", ["kd", "cl"])
def test_gradient_reaches_the_states_of_users_with_teachers_alone(kind: Any) -> None:
    step = step_of()
    UserDistillation(0.1, kind)(step).backward()
    assert step.id_table.grad is None
    assert step.hidden.grad is not None
    assert step.hidden.grad.any(-1).tolist() == [[False, True], [False, False], [False, True], [False, True]]


@pytest.mark.parametrize("kind", ["kd", "cl"])
def test_padding_and_order_change_nothing(kind: Any) -> None:
    term, plain = UserDistillation(0.1, kind), UserDistillation(0.1, kind)(step_of())
    torch.testing.assert_close(term(step_of(width=8)), plain, atol=1e-12, rtol=0)
    torch.testing.assert_close(term(step_of(order=[3, 1, 0, 2])), plain, atol=1e-12, rtol=0)


@pytest.mark.parametrize("kind", ["kd", "cl"])
def test_nobody_with_teachers_is_zero_and_encodes_nobody(kind: Any) -> None:
    step = step_of(torch.full((4, 3), -1))
    step.batch["neighbour_items"] = []
    loss = UserDistillation(0.1, kind)(step)
    assert loss.item() == 0
    assert not step.encoded


def test_with_fresh_dropout_the_student_is_that_of_a_further_pass() -> None:
    step = step_of()
    step.batch["items"] = torch.tensor([[1, 2], [3, 4], [5, 6], [7, 8]])
    table = step.id_table.detach()
    students = torch.stack([table[[1, 2]].mean(0), table[[5, 6]].mean(0), table[[7, 8]].mean(0)])
    expected = (students - pairs(step)[1]).square().mean()
    torch.testing.assert_close(UserDistillation(0.1, fresh_dropout=True)(step), expected, atol=1e-12, rtol=0)


def test_every_distinct_teacher_is_encoded_once() -> None:
    step, term = step_of(), UserDistillation(0.1)
    term(step)
    assert [len(items) for items in step.encoded] == [2, 1]
    assert [ids.tolist() for ids in term.item_ids(step.batch)] == [ids.tolist() for ids in step.encoded]


def test_an_unknown_similarity_is_refused() -> None:
    with pytest.raises(ValueError, match="user_sim_func is 'mse', wanted 'kd' or 'cl'"):
        UserDistillation(0.1, "mse")  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_a_mean_has_the_type_of_the_states_whatever_autocast_does_to_sums(dtype: torch.dtype) -> None:
    states, rows = normal(4, 8).to(dtype), torch.tensor([[1, 2, 3], [2, 0, 0], [0, 0, 0]])
    real = torch.tensor([[True, True, True], [True, False, False], [False, False, False]])
    with torch.autocast("cpu", torch.bfloat16):
        found = means_of(states, rows, real)
    assert found.dtype == dtype
    expected = torch.stack([states[1:4].mean(0), states[2], torch.zeros_like(states[0])])
    close = {torch.bfloat16: 0.02, torch.float32: 1e-6, torch.float64: 1e-12}[dtype]
    torch.testing.assert_close(found, expected, atol=close, rtol=0)
