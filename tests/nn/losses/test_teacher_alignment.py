import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sage_pl.nn.losses.base import LossTerm
from sage_pl.nn.losses.contrastive import Decoupled, InfoNCE, SoftTargets
from sage_pl.nn.losses.teacher_alignment import TeacherAlignment
from tests.golden.prepared import N_ITEMS, HandStep, leaf, left_pad, normal, write

MASK = N_ITEMS + 1
INPUTS = [[3, 1, 3, MASK], [5, 2]]
TARGETS = [[1, 3, 0, 4], [0, 4]]
TEACHER = normal(N_ITEMS + 2, 4, seed=7).float().numpy()


@pytest.fixture
def teacher(tmp_path: Path) -> str:
    return write(tmp_path / "teacher", item_table=TEACHER)


def term_of(teacher: str, **choices: Any) -> TeacherAlignment:
    return TeacherAlignment(
        **{"weight": 0.1, "table": teacher, "n_items": N_ITEMS, "form": InfoNCE(), **choices}
    ).double()


def step_of(inputs: list[list[int]] = INPUTS, targets: list[list[int]] = TARGETS, width: int = 0) -> HandStep:
    ids, text = leaf(normal(N_ITEMS + 2, 4, seed=1)), leaf(normal(N_ITEMS + 2, 4, seed=2))
    width = max(width, *map(len, inputs))
    return HandStep({"items": left_pad(inputs, width), "targets": left_pad(targets, width)}, torch.zeros(0), ids, text)


def rows(ids: list[int]) -> tuple[Tensor, Tensor]:
    return normal(N_ITEMS + 2, 4, seed=2)[ids], torch.from_numpy(TEACHER).double()[ids]


def test_by_hand(tmp_path: Path) -> None:
    """Two items; teacher's unit axes; the student has item 2 exact and item 1 halfway between them."""
    table = np.zeros((4, 2), np.float32)
    table[1], table[2] = (1, 0), (0, 1)
    student = torch.zeros(4, 2, dtype=torch.float64)
    student[1], student[2] = torch.tensor([5.0, 5.0]), torch.tensor([0.0, 3.0])
    step = HandStep(
        {"items": torch.tensor([[0]]), "targets": torch.tensor([[1, 2]])}, torch.zeros(0), student, student, 3
    )
    term = TeacherAlignment(1.0, write(tmp_path, item_table=table), 2, InfoNCE(), temperature=1.0).double()
    r = math.sqrt(0.5)
    rows_and_columns = [(r, r), (1, 0), (r, 0), (1, r)]  # cosine with the own, with the other
    expected = sum(math.log(math.exp(own) + math.exp(other)) - own for own, other in rows_and_columns) / 4
    assert term(step).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("choices", "ids"),
    [
        ({}, [1, 3, 4]),
        ({"unique": False}, [1, 3, 4, 4]),
        ({"inputs": True}, [1, 2, 3, 5]),
        ({"inputs": True, "unique": False}, [3, 1, 3, 5, 2]),
    ],
    ids=["distinct targets", "every target", "distinct inputs", "every input"],
)
def test_contrasts_the_chosen_items(teacher: str, choices: dict[str, bool], ids: list[int]) -> None:
    loss = term_of(teacher, **choices)(step_of())
    torch.testing.assert_close(loss, InfoNCE()(*rows(ids), 0.1), atol=1e-12, rtol=0)


def test_distinct_items_do_not_feel_a_repeated_token(teacher: str) -> None:
    once, twice = step_of(targets=[[1, 3], [4]]), step_of(targets=[[1, 3, 3, 1], [4]])
    torch.testing.assert_close(term_of(teacher)(once), term_of(teacher)(twice), atol=1e-12, rtol=0)
    assert (term_of(teacher, unique=False)(once) - term_of(teacher, unique=False)(twice)).abs() > 1e-3


@pytest.mark.parametrize("form", [Decoupled(cosine=False), SoftTargets()], ids=["paper", "reference code"])
def test_the_form_is_a_choice(teacher: str, form: Decoupled | SoftTargets) -> None:
    loss = term_of(teacher, form=form, temperature=2.0)(step_of())
    torch.testing.assert_close(loss, form(*reversed(rows([1, 3, 4])), 2.0), atol=1e-12, rtol=0)


def test_the_reference_codes_form_is_at_hand(teacher: str) -> None:
    """Teacher first, as there: its soft targets are normalised over rows, so that the order matters."""
    student, frozen = rows([1, 3, 4, 4])
    loss = term_of(teacher, form=SoftTargets(), temperature=2.0, unique=False)(step_of())
    torch.testing.assert_close(loss, SoftTargets()(frozen, student, 2.0), atol=1e-12, rtol=0)
    assert (loss - SoftTargets()(student, frozen, 2.0)).abs() > 1e-6


def test_gradient_reaches_the_students_view_of_those_items_alone(teacher: str) -> None:
    term, step = term_of(teacher), step_of()
    before = term.table.clone()
    term(step).backward()
    assert step.text_table is not None
    assert step.text_table.grad is not None
    assert step.text_table.grad.any(1).nonzero().flatten().tolist() == [1, 3, 4]
    assert step.id_table.grad is None or not step.id_table.grad.any()
    assert not list(term.parameters())
    assert torch.equal(term.table, before)
    assert not term.state_dict()


def test_another_view_may_be_compared(teacher: str) -> None:
    term, step = term_of(teacher, view="id"), step_of()
    assert term.reads == {"id"}
    term(step).backward()
    assert step.id_table.grad is not None
    assert step.id_table.grad.any(1).nonzero().flatten().tolist() == [1, 3, 4]


def test_padding_and_order_change_nothing(teacher: str) -> None:
    term = term_of(teacher)
    plain = term(step_of())
    torch.testing.assert_close(term(step_of(width=9)), plain, atol=1e-12, rtol=0)
    torch.testing.assert_close(term(step_of(INPUTS[::-1], TARGETS[::-1])), plain, atol=1e-12, rtol=0)


@pytest.mark.parametrize("form", [InfoNCE(), Decoupled(), SoftTargets()], ids=lambda form: type(form).__name__)
def test_a_batch_without_targets_is_zero(teacher: str, form: Any) -> None:
    step = step_of(targets=[[0, 0, 0, 0], [0, 0]])
    loss = term_of(teacher, form=form)(step)
    assert loss.item() == 0


def test_at_most_so_many_items_are_contrasted(teacher: str) -> None:
    step = step_of()
    term_of(teacher, max_items=2)(step).backward()
    assert step.text_table is not None
    assert step.text_table.grad is not None
    assert step.text_table.grad.any(1).sum() == 2


def test_it_says_which_items_it_will_ask_for(teacher: str) -> None:
    step = step_of()
    assert [ids.tolist() for ids in term_of(teacher).item_ids(step.batch)] == [step.batch["targets"].tolist()]
    assert term_of(teacher, inputs=True).item_ids(step.batch) == []
    assert isinstance(term_of(teacher), LossTerm)


def test_a_teacher_of_another_width_or_data_set_is_refused(tmp_path: Path) -> None:
    wide = write(tmp_path / "wide", item_table=np.ones((N_ITEMS + 2, 6), np.float32))
    with pytest.raises(
        ValueError, match="vectors are 6 wide, the view text of this run 4; train both with the same dim"
    ):
        term_of(wide)(step_of())
    other = write(tmp_path / "other", item_table=np.ones((5, 4), np.float32))
    with pytest.raises(ValueError, match=r"has 5 rows, wanted 12 \(N \+ 2\) for this data set"):
        term_of(other)


def test_a_temperature_of_nothing_is_refused(teacher: str) -> None:
    with pytest.raises(ValueError, match="temperature is 0, wanted a number above 0"):
        term_of(teacher, temperature=0)


def test_a_teacher_that_is_not_there_is_asked_for() -> None:
    with pytest.raises(ValueError, match=r"no item_table.npy in /no/such/run; leave table of its term as it comes"):
        TeacherAlignment(0.1, "/no/such/run", N_ITEMS, InfoNCE())
