import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sage_pl.nn.objectives.linear_cross_entropy import linear_cross_entropy
from tests.golden.prepared import leaf, normal

TARGETS = torch.tensor([1, 5, 1, 2, 6, 3, 5])
CANDIDATES = torch.tensor([1, 2, 3, 5, 6])


def reference(hidden: Tensor, table: Tensor) -> Tensor:
    return F.cross_entropy((hidden @ table.T).index_fill(1, torch.tensor([0, 4, 7]), float("-inf")), TARGETS)


def operands(dtype: torch.dtype = torch.float64, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    return leaf(scale * normal(7, 4, seed=1).to(dtype)), leaf(scale * normal(8, 4, seed=2).to(dtype))


@pytest.mark.parametrize("block", [1, 2, 3, 7, 256])
@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 1e-6), (torch.float64, 1e-12)], ids=["single", "double"])
def test_equals_cross_entropy_on_all_logits(block: int, dtype: torch.dtype, close: float) -> None:
    given = operands(dtype)
    ours, theirs = linear_cross_entropy(*given, TARGETS, CANDIDATES, block), reference(*given)
    torch.testing.assert_close(ours, theirs, atol=close, rtol=0)
    for mine, want in zip(torch.autograd.grad(3 * ours, given), torch.autograd.grad(3 * theirs, given), strict=True):
        torch.testing.assert_close(mine, want, atol=5 * close, rtol=0)


def test_bfloat16_products_are_close_and_no_more() -> None:
    given = operands(torch.float32)
    ours, theirs = linear_cross_entropy(*given, TARGETS, CANDIDATES, 3, torch.bfloat16), reference(*given)
    assert 0 < abs(ours.item() - theirs.item()) < 0.01 * theirs.item()
    for mine, want in zip(torch.autograd.grad(ours, given), torch.autograd.grad(theirs, given), strict=True):
        assert mine.dtype == torch.float32
        torch.testing.assert_close(mine, want, atol=0.01 * want.abs().max().item(), rtol=0)


def test_gradients_are_those_of_finite_differences() -> None:
    assert torch.autograd.gradcheck(lambda h, t: linear_cross_entropy(h, t, TARGETS, CANDIDATES, 3), operands())


def test_only_candidates_get_a_gradient() -> None:
    hidden, table = operands()
    linear_cross_entropy(hidden, table, TARGETS, CANDIDATES).backward()
    assert table.grad is not None
    assert table.grad.any(1).nonzero().flatten().tolist() == CANDIDATES.tolist()


def test_a_target_must_be_a_candidate() -> None:
    with pytest.raises(RuntimeError, match="index -1 is out of bounds"):
        linear_cross_entropy(*operands(), TARGETS, CANDIDATES[1:])


def test_nothing_to_predict_is_zero_with_zero_gradients() -> None:
    hidden, table = operands()
    loss = linear_cross_entropy(hidden[:0], table, TARGETS[:0], CANDIDATES)
    loss.backward()
    assert loss.item() == 0
    assert hidden.grad is not None
    assert table.grad is not None
    assert not hidden.grad.any()
    assert not table.grad.any()


def test_huge_logits_stay_finite() -> None:
    given = operands(torch.float32, scale=100.0)
    assert (given[0] @ given[1].T).abs().max() > 1e4
    loss = linear_cross_entropy(*given, TARGETS, CANDIDATES)
    torch.testing.assert_close(loss, reference(*given))
    assert all(grad.isfinite().all() for grad in torch.autograd.grad(loss, given))


@pytest.mark.parametrize("hidden_dtype", [torch.float32, torch.bfloat16], ids=["float32 states", "bfloat16 states"])
def test_autocast_does_not_round_the_logits(hidden_dtype: torch.dtype) -> None:
    hidden, table = operands(torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = linear_cross_entropy(hidden.to(hidden_dtype), table, TARGETS, CANDIDATES)
    torch.testing.assert_close(loss, reference(hidden.to(hidden_dtype).float(), table))
    loss.backward()
    assert hidden.grad is not None
    assert hidden.grad.any(1).all()
