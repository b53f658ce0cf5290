import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from sage_pl.nn.losses.contrastive import Decoupled, InfoNCE, SoftTargets
from tests.golden import naive
from tests.golden.prepared import leaf, normal


def info_nce(a: Tensor, b: Tensor, temperature: float, cosine: bool = True) -> Tensor:
    return InfoNCE(cosine)(a, b, temperature)


def decoupled_contrastive(a: Tensor, b: Tensor, temperature: float, cosine: bool = True) -> Tensor:
    return Decoupled(cosine)(a, b, temperature)


def soft_contrastive(
    x: Tensor, y: Tensor, temperature: float = 1.0, detach_targets: bool = True, cosine: bool = False
) -> Tensor:
    return SoftTargets(cosine, detach_targets)(x, y, temperature)


def in_numpy(x: np.ndarray, y: np.ndarray, temperature: float) -> float:
    def softmax(z: np.ndarray) -> np.ndarray:
        return np.exp(z) / np.exp(z).sum(1, keepdims=True)

    scores, targets = x @ y.T / temperature, softmax((x @ x.T + y @ y.T) / 2 * temperature)
    forward = -(targets * np.log(softmax(scores))).sum(1)
    backward = -(targets.T * np.log(softmax(scores.T))).sum(1)
    return float((forward + backward).mean() / 2)


@pytest.mark.parametrize("temperature", [1.0, 0.5, 2.0])
def test_equals_the_formula_in_numpy(temperature: float) -> None:
    x, y = normal(4, 3, seed=1), normal(4, 3, seed=2)
    expected = in_numpy(x.numpy(), y.numpy(), temperature)
    assert soft_contrastive(x, y, temperature).item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("detach", [True, False], ids=["constant targets", "targets with gradient"])
def test_equals_loops_over_pairs_in_value_and_gradient(detach: bool) -> None:
    given = leaf(normal(3, 4, seed=1)), leaf(normal(3, 4, seed=2))
    ours, theirs = soft_contrastive(*given, 0.7, detach), naive.soft_contrastive(*given, 0.7, detach)
    torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=0)
    for mine, want in zip(torch.autograd.grad(ours, given), torch.autograd.grad(theirs, given), strict=True):
        torch.testing.assert_close(mine, want, atol=1e-12, rtol=0)


def test_cosine_compares_directions_with_one_temperature() -> None:
    x, y = normal(4, 3, seed=1), normal(4, 3, seed=2)
    unit_x, unit_y = (v.numpy() / np.linalg.norm(v.numpy(), axis=1, keepdims=True) for v in (x, y))
    scores, within = unit_x @ unit_y.T / 0.2, (unit_x @ unit_x.T + unit_y @ unit_y.T) / 2 / 0.2

    def log_softmax(z: np.ndarray) -> np.ndarray:
        return z - np.log(np.exp(z).sum(1, keepdims=True))

    targets = np.exp(log_softmax(within))
    expected = -(targets * log_softmax(scores) + targets.T * log_softmax(scores.T)).sum(1).mean() / 2
    assert soft_contrastive(x, y, 0.2, cosine=True).item() == pytest.approx(expected, abs=1e-12)
    assert soft_contrastive(9 * x, y, 0.2, cosine=True).item() == pytest.approx(expected, abs=1e-12)


def test_detached_targets_change_the_gradient_alone() -> None:
    x, y = leaf(normal(3, 4, seed=1)), normal(3, 4, seed=2)
    constant, flowing = soft_contrastive(x, y), soft_contrastive(x, y, detach_targets=False)
    assert constant.item() == flowing.item()
    assert not torch.allclose(torch.autograd.grad(constant, x)[0], torch.autograd.grad(flowing, x)[0])


def test_order_does_not_matter() -> None:
    x, y, order = normal(5, 3, seed=1), normal(5, 3, seed=2), torch.tensor([3, 0, 4, 2, 1])
    torch.testing.assert_close(soft_contrastive(x[order], y[order]), soft_contrastive(x, y), atol=1e-12, rtol=0)


def test_nothing_is_zero() -> None:
    assert soft_contrastive(torch.zeros(0, 3), torch.zeros(0, 3)).item() == 0


def test_huge_similarities_stay_finite() -> None:
    x, y = leaf(100 * normal(4, 3, seed=1).float()), leaf(100 * normal(4, 3, seed=2).float())
    loss = soft_contrastive(x, y)
    loss.backward()
    assert loss.isfinite()
    for tensor in (x, y):
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()


A, B = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[3.0, 0.0], [1.0, 1.0]])
# inner products [[3, 1], [0, 2]]; cosines [[1, r], [0, r]] with r = sqrt(1/2)
R = math.sqrt(0.5)


def cross_entropy(own: float, *others: float) -> float:
    return math.log(sum(math.exp(x) for x in (own, *others))) - own


def test_info_nce_by_hand() -> None:
    products = [(3, 1), (2, 0), (3, 0), (2, 1)]  # rows, then columns: own, other
    expected = sum(cross_entropy(own / 2, other / 2) for own, other in products) / 4
    assert info_nce(A, B, 2.0, cosine=False).item() == pytest.approx(expected, abs=1e-6)
    cosines = [(1, R), (R, 0), (1, 0), (R, R)]
    expected = sum(cross_entropy(own / 0.5, other / 0.5) for own, other in cosines) / 4
    assert info_nce(A, B, 0.5).item() == pytest.approx(expected, abs=1e-6)


def test_decoupled_by_hand() -> None:
    """Of two rows the denominator is the other row alone, and its logarithm that row's similarity."""
    assert decoupled_contrastive(A, B, 2.0, cosine=False).item() == pytest.approx((1 + 0 + 0 + 1) / 8 - (3 + 2) / 4)
    assert decoupled_contrastive(A, B, 0.5).item() == pytest.approx((R + 0 + 0 + R) / 2 - (1 + R), abs=1e-6)


@pytest.mark.parametrize("cosine", [True, False], ids=["cosine", "inner product"])
def test_hard_forms_equal_loops_over_pairs(cosine: bool) -> None:
    a, b = normal(5, 3, seed=1), normal(5, 3, seed=2)
    left, right = [v.numpy() / (np.linalg.norm(v.numpy(), axis=1, keepdims=True) if cosine else 1) for v in (a, b)]
    full = without = 0.0
    for x, y in ((left, right), (right, left)):
        for i in range(5):
            scores = [float(x[i] @ y[k]) / 0.3 for k in range(5)]
            full += cross_entropy(scores[i], *(s for k, s in enumerate(scores) if k != i)) / 10
            without += (math.log(sum(math.exp(s) for k, s in enumerate(scores) if k != i)) - scores[i]) / 10
    assert info_nce(a, b, 0.3, cosine).item() == pytest.approx(full, abs=1e-10)
    assert decoupled_contrastive(a, b, 0.3, cosine).item() == pytest.approx(without, abs=1e-10)


def test_decoupled_has_no_floor_under_inner_products_and_info_nce_has() -> None:
    apart = 10 * torch.eye(4)
    values = [decoupled_contrastive(k * apart, k * apart, 1.0, cosine=False).item() for k in (1, 3, 10)]
    assert values[0] > values[1] > values[2]
    assert values[2] < -9000
    assert info_nce(10 * apart, 10 * apart, 1.0, cosine=False).item() == pytest.approx(0, abs=1e-6)
    opposite = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    assert decoupled_contrastive(opposite, opposite, 0.5).item() == pytest.approx(math.log(1) - 2 / 0.5)


def test_lengths_do_not_matter_to_cosine() -> None:
    a, b = normal(4, 3, seed=1), normal(4, 3, seed=2)
    for loss in (info_nce, decoupled_contrastive):
        torch.testing.assert_close(loss(7 * a, b, 0.2), loss(a, b, 0.2), atol=1e-12, rtol=0)
        assert (loss(7 * a, b, 0.2, cosine=False) - loss(a, b, 0.2, cosine=False)).abs() > 1e-3


@pytest.mark.parametrize("form", [InfoNCE(), Decoupled(), SoftTargets()], ids=lambda form: type(form).__name__)
def test_every_form_trains_both_sides_and_the_temperature(form: Callable[..., Tensor]) -> None:
    given = leaf(normal(4, 3, seed=1)), leaf(normal(4, 3, seed=2)), leaf(torch.tensor(0.5, dtype=torch.float64))
    for gradient in torch.autograd.grad(form(*given), given):
        assert gradient.isfinite().all()
        assert gradient.any()
    assert form(*(v[:0] for v in given[:2]), 0.5).item() == 0


def test_one_pair_alone_has_nothing_to_be_told_apart_from() -> None:
    assert decoupled_contrastive(A[:1], B[:1], 1.0).item() == 0
    assert info_nce(A[:1], B[:1], 1.0).item() == 0


def test_soft_targets_are_the_form_of_the_reference_code() -> None:
    """As executed there: temperature 3 in both places, targets with gradient, both directions averaged."""
    x, y = leaf(normal(4, 3, seed=1)), leaf(normal(4, 3, seed=2))
    t = leaf(torch.tensor(3.0, dtype=torch.float64))
    logits = x @ y.T / t
    targets = torch.softmax((x @ x.T + y @ y.T) / 2 * t, dim=-1)
    rows = (-targets * torch.log_softmax(logits, dim=-1)).sum(1)
    columns = (-targets.T * torch.log_softmax(logits.T, dim=-1)).sum(1)
    expected = ((rows + columns) / 2).mean()
    ours = SoftTargets()(x, y, t)
    torch.testing.assert_close(ours, expected, atol=1e-12, rtol=0)
    for mine, want in zip(torch.autograd.grad(ours, (x, y, t)), torch.autograd.grad(expected, (x, y, t)), strict=True):
        torch.testing.assert_close(mine, want, atol=1e-12, rtol=0)
