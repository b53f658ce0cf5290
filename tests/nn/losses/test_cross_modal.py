import pytest
import torch

from sage_pl.nn.losses.contrastive import InfoNCE
from sage_pl.nn.losses.cross_modal import CrossModal
from tests.golden.prepared import HandStep, leaf, normal


def test_parts_look_for_each_other_by_hand() -> None:
    """Two parts of width 1: cosines are signs. (+, -) finds both of its parts in (-, +), and only one in (+, +)."""
    term = CrossModal(1.0, parts=2)
    a = torch.tensor([[3.0, -2.0]])
    b = torch.tensor([[-1.0, 5.0], [1.0, 7.0]])
    assert term.similarities(a, b).tolist() == [[1.0, 0.0]]
    assert CrossModal(1.0, parts=1).similarities(torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, 4.0]])).item() == (
        pytest.approx(0.6)
    )


def test_two_users_by_hand() -> None:
    """Items 1, 2, 3 and 5 of two users, the second with padding and a mask token, whose text does not count."""
    batch = {"items": torch.tensor([[1, 2, 3], [0, 5, 11]]), "state_rows": torch.tensor([0, 1])}
    hidden, ids, text = normal(2, 3, 4, seed=1), normal(12, 4, seed=2), normal(12, 4, seed=3)
    step = HandStep(batch, hidden, ids, text)  # type: ignore[arg-type]
    term = CrossModal(1.0, parts=1, temperature=0.5)
    items = torch.tensor([1, 2, 3, 5])
    means = torch.stack([text[[1, 2, 3]].mean(0), text[5]])
    expected = (InfoNCE()(ids[items], text[items], 0.5) + InfoNCE()(hidden[:, -1], means, 0.5)) / 2
    torch.testing.assert_close(term(step), expected, atol=1e-12, rtol=0)
    assert term(step).item() != pytest.approx(CrossModal(1.0, parts=2, temperature=0.5)(step).item())


def test_gradient_reaches_both_sides_of_items_and_users() -> None:
    batch = {"items": torch.tensor([[1, 2, 3], [0, 5, 4]]), "state_rows": torch.tensor([0, 1])}
    step = HandStep(batch, *(leaf(normal(*shape, seed=n)) for n, shape in enumerate(((2, 3, 4), (12, 4), (12, 4)))))  # type: ignore[arg-type]
    CrossModal(1.0, parts=2)(step).backward()
    for tensor, rows in ((step.hidden, [0, 1]), (step.id_table, [1, 2, 3, 4, 5]), (step.text_table, [1, 2, 3, 4, 5])):
        assert tensor is not None
        assert tensor.grad is not None
        assert tensor.grad.flatten(1).any(1).nonzero().flatten().tolist() == rows


def test_a_model_aligned_alone_ranks_by_text() -> None:
    """Trained by this loss, a state is nearest to the item whose text is that of its history."""
    torch.manual_seed(0)
    text = normal(7, 8, seed=1)
    batch = {"items": torch.tensor([[1], [2], [3], [4]]), "state_rows": torch.arange(4)}
    hidden, table = leaf(normal(4, 1, 8, seed=2)), leaf(normal(7, 8, seed=3))
    optimizer, term = torch.optim.Adam([hidden, table], lr=0.1), CrossModal(1.0, parts=2)
    for _ in range(60):
        optimizer.zero_grad()
        term(HandStep(batch, hidden, table, text)).backward()  # type: ignore[arg-type]
        optimizer.step()
    assert (hidden[:, 0] @ table[1:5].T).argmax(1).tolist() == [0, 1, 2, 3]


def test_parts_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(ValueError, match="parts=3, wanted a divisor of the vectors' width, which is 4"):
        CrossModal(1.0, parts=3).similarities(normal(2, 4), normal(2, 4))
    assert CrossModal(1.0).contrast(normal(0, 4), normal(0, 4)).item() == 0
