import pytest
import torch
from torch import Tensor

from sage_pl.nn.losses.alignment import Alignment
from sage_pl.nn.losses.contrastive import SoftTargets
from tests.golden.prepared import N_ITEMS, HandStep, leaf, left_pad, normal

MASK = N_ITEMS + 1
ROWS = [[3, 1, 3, MASK], [5, 2]]
DISTINCT = [1, 2, 3, 5]


def step_of(rows: list[list[int]] = ROWS, width: int = 0) -> HandStep:
    ids, text = leaf(normal(N_ITEMS + 2, 4, seed=1)), leaf(normal(N_ITEMS + 2, 4, seed=2))
    return HandStep({"items": left_pad(rows, width)}, torch.zeros(0), ids, text)


def expected(step: HandStep, ids: list[int]) -> Tensor:
    assert step.text_table is not None
    return SoftTargets(detach_targets=True)(step.text_table[ids], step.id_table[ids], 1.0)


@pytest.mark.parametrize(
    ("unique", "ids"), [(True, DISTINCT), (False, [3, 1, 3, 5, 2])], ids=["distinct", "occurrences"]
)
def test_contrasts_the_real_items_of_the_step(unique: bool, ids: list[int]) -> None:
    step = step_of()
    torch.testing.assert_close(Alignment(0.1, unique=unique)(step), expected(step, ids), atol=1e-12, rtol=0)


def test_cosine_is_handed_on() -> None:
    step = step_of()
    assert step.text_table is not None
    expected = SoftTargets(True, detach_targets=True)(step.text_table[DISTINCT], step.id_table[DISTINCT], 0.2)
    torch.testing.assert_close(Alignment(0.1, 0.2, cosine=True)(step), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("unique", [True, False], ids=["distinct", "occurrences"])
def test_padding_and_order_change_nothing(unique: bool) -> None:
    term = Alignment(0.1, unique=unique)
    plain = term(step_of())
    torch.testing.assert_close(term(step_of(width=9)), plain, atol=1e-12, rtol=0)
    torch.testing.assert_close(term(step_of(ROWS[::-1])), plain, atol=1e-12, rtol=0)


def test_gradient_reaches_both_views_of_those_items_alone() -> None:
    step = step_of()
    Alignment(0.1)(step).backward()
    for table in (step.id_table, step.text_table):
        assert table is not None
        assert table.grad is not None
        assert table.grad.any(1).nonzero().flatten().tolist() == DISTINCT


def test_at_most_so_many_items_are_contrasted() -> None:
    torch.manual_seed(0)
    step = step_of()
    Alignment(0.1, max_items=2)(step).backward()
    assert step.id_table.grad is not None
    assert step.id_table.grad.any(1).sum() == 2
    torch.testing.assert_close(Alignment(0.1, max_items=None)(step), expected(step, DISTINCT), atol=1e-12, rtol=0)


def test_a_batch_without_items_is_zero() -> None:
    loss = Alignment(0.1)(step_of([[0, 0], [0, MASK]]))
    assert loss.item() == 0


def test_directions_pull_short_vectors_where_products_leave_them() -> None:
    """Vectors as long as at the start of a run: products of them are near 0, and both softmaxes near uniform."""
    pulls = {}
    for cosine in (False, True):
        step = step_of([list(range(1, N_ITEMS + 1))])
        assert step.text_table is not None
        with torch.no_grad():
            step.id_table.mul_(0.05)
            step.text_table.mul_(0.05)
        Alignment(0.1, cosine=cosine)(step).backward()
        assert step.text_table.grad is not None
        pulls[cosine] = step.text_table.grad.norm().item()
    assert pulls[True] > 100 * pulls[False]


def test_the_temperature_is_that_of_the_form() -> None:
    assert Alignment(0.1, cosine=True).temperature == 0.1
    assert Alignment(0.1).temperature == 1
    assert Alignment(0.1, 0.3, cosine=True).temperature == 0.3
