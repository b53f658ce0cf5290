import numpy as np
import pytest
import torch

from sage_pl.losses.contrastive import soft_contrastive
from tests.golden import naive
from tests.golden.prepared import leaf, normal


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
