from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sage_pl.nn.losses.contrastive import InfoNCE
from sage_pl.nn.losses.mmd import MMD
from sage_pl.nn.losses.view_alignment import CosineAlignment, InfoNCEAlignment, MSEAlignment, ViewAlignment
from tests.golden.prepared import N_ITEMS, HandStep, leaf, left_pad, normal

MASK = N_ITEMS + 1
ROWS = [[3, 1, 3, MASK], [5, 2]]
DISTINCT = [1, 2, 3, 5]
TERMS: list[type[ViewAlignment]] = [InfoNCEAlignment, CosineAlignment, MSEAlignment, MMD]
each_term = pytest.mark.parametrize("term", TERMS, ids=lambda term: term.__name__)


def step_of(rows: list[list[int]] = ROWS, width: int = 0) -> HandStep:
    ids, text = leaf(normal(N_ITEMS + 2, 4, seed=1)), leaf(normal(N_ITEMS + 2, 4, seed=2))
    return HandStep({"items": left_pad(rows, width)}, torch.zeros(0), ids, text)


def sides(step: HandStep, ids: list[int]) -> tuple[Tensor, Tensor]:
    assert step.text_table is not None
    return step.text_table[ids], step.id_table[ids]


@pytest.mark.parametrize(
    ("unique", "ids"), [(True, DISTINCT), (False, [3, 1, 3, 5, 2])], ids=["distinct", "occurrences"]
)
@each_term
def test_compares_the_real_items_of_the_step(term: type[ViewAlignment], unique: bool, ids: list[int]) -> None:
    step, built = step_of(), term(0.1, unique=unique)
    torch.testing.assert_close(built(step), built.compare(*sides(step, ids)), atol=1e-12, rtol=0)


@each_term
def test_padding_and_order_change_nothing(term: type[ViewAlignment]) -> None:
    built = term(0.1)
    plain = built(step_of())
    torch.testing.assert_close(built(step_of(width=9)), plain, atol=1e-12, rtol=0)
    torch.testing.assert_close(built(step_of([*ROWS[::-1], [0, 0]])), plain, atol=1e-12, rtol=0)


@each_term
def test_gradient_reaches_both_views_of_those_items_alone(term: type[ViewAlignment]) -> None:
    step = step_of()
    term(0.1)(step).backward()
    for table in (step.id_table, step.text_table):
        assert table is not None
        assert table.grad is not None
        assert table.grad.any(1).nonzero().flatten().tolist() == DISTINCT


@each_term
def test_at_most_so_many_items_are_compared(term: type[ViewAlignment]) -> None:
    torch.manual_seed(0)
    step = step_of()
    term(0.1, max_items=2)(step).backward()
    assert step.id_table.grad is not None
    assert step.id_table.grad.any(1).sum() == 2


@each_term
def test_a_batch_without_items_is_zero(term: type[ViewAlignment]) -> None:
    assert term(0.1)(step_of([[0, 0], [0, MASK]])).item() == 0


@each_term
def test_the_views_are_a_choice(term: type[ViewAlignment]) -> None:
    step, swapped = step_of(), term(0.1, views=["id", "text"])
    assert swapped.reads == {"id", "text"}
    assert term(0.1, views=["fused", "id"]).reads == {"fused", "id"}
    text, own = sides(step, DISTINCT)
    torch.testing.assert_close(swapped(step), swapped.compare(own, text), atol=1e-12, rtol=0)


def test_infonce_is_the_shared_one_with_its_settings() -> None:
    step = step_of()
    for cosine in (True, False):
        term = InfoNCEAlignment(0.1, temperature=0.3, cosine=cosine)
        expected = InfoNCE(cosine)(*sides(step, DISTINCT), 0.3)
        torch.testing.assert_close(term(step), expected, atol=1e-12, rtol=0)


HAND = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[3.0, 0.0], [3.0, 0.0]])


def test_values_by_hand() -> None:
    assert CosineAlignment(1.0).compare(*HAND).item() == pytest.approx((0 + 1) / 2)
    assert MSEAlignment(1.0).compare(*HAND).item() == pytest.approx((4 + 0 + 9 + 4) / 4)
    # directions: rows (1, 0), (0, 1) against (1, 0) twice: the columns are equal, so both ways guess among two
    logits = torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    expected = (F.cross_entropy(logits, torch.arange(2)) + F.cross_entropy(logits.T, torch.arange(2))) / 2
    assert InfoNCEAlignment(1.0, temperature=1.0).compare(*HAND).item() == pytest.approx(expected.item())


def test_cosine_ignores_length_and_survives_a_zero_vector() -> None:
    a, b = normal(4, 3, seed=1), normal(4, 3, seed=2)
    plain = CosineAlignment(1.0).compare(a, b)
    torch.testing.assert_close(CosineAlignment(1.0).compare(7 * a, b), plain, atol=1e-12, rtol=0)
    zero = leaf(torch.zeros(2, 3))
    CosineAlignment(1.0).compare(zero, torch.ones(2, 3)).backward()
    assert zero.grad is not None
    assert zero.grad.isfinite().all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"views": ["id", "id"]}, r"views are \['id', 'id'\], wanted two different"),
        ({"views": ["id"]}, r"views are \['id'\], wanted two different"),
        ({"max_items": 1}, "max_items is 1, wanted at least 2"),
        ({"temperature": 0}, "temperature is 0, wanted a positive"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        InfoNCEAlignment(0.1, **settings)
