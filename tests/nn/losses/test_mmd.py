"""The selection of items is tested in test_view_alignment.py; here the estimator."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from sage_pl.nn.losses.mmd import ALPHAS, MMD, Gaussian, Laplacian, Linear, _mixture, mk_mmd, squared_distances
from tests.golden.prepared import leaf, normal

KERNELS = {"gaussian": Gaussian(), "single": Gaussian([1.0]), "laplacian": Laplacian(), "linear": Linear()}
each_kernel = pytest.mark.parametrize("kernel", KERNELS)


def naive_kernel(name: str, points: list[Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    if name == "linear":
        return torch.dot

    def distance(x: Tensor, y: Tensor) -> Tensor:
        return (x - y).abs().sum() if name == "laplacian" else (x - y).pow(2).sum()

    mean = torch.stack([distance(x, y) for x in points for y in points]).mean().detach()
    factors = {"gaussian": [2 * a for a in ALPHAS], "single": [2.0], "laplacian": list(ALPHAS)}[name]
    return lambda x, y: torch.stack([torch.exp(-distance(x, y) / (f * mean)) for f in factors]).sum()


def naive(name: str, a: Tensor, b: Tensor, unbiased: bool, offset: bool) -> Tensor:
    """The double loop of the formula, one pair at a time."""
    k, m = naive_kernel(name, [*a, *b]), len(a)
    total = torch.zeros((), dtype=a.dtype)
    for i in range(m):
        for j in range(m):
            if i != j:
                total = total + (k(a[i], a[j]) + k(b[i], b[j])) / (m * (m - 1))
            if not unbiased:
                total = total - 2 * k(a[i], b[j]) / m**2
            elif i != j:
                total = total - 2 * k(a[i], b[j]) / (m * (m - 1))
    return total + (2 / (m - 1) if offset else 0)


@pytest.mark.parametrize(
    "settings", [(True, False), (False, False), (False, True)], ids=["unbiased", "all pairs", "reference"]
)
@each_kernel
def test_equals_the_double_loop_in_value_and_gradient(kernel: str, settings: tuple[bool, bool]) -> None:
    given = leaf(normal(5, 3, seed=1)), leaf(1 + 2 * normal(5, 3, seed=2))
    ours, theirs = mk_mmd(*given, KERNELS[kernel], *settings), naive(kernel, *given, *settings)
    torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=0)
    for mine, want in zip(torch.autograd.grad(ours, given), torch.autograd.grad(theirs, given), strict=True):
        torch.testing.assert_close(mine, want, atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [
        # two points at 0, two at 2: the mean squared distance is 4 * 8 / 16 = 2, the mean distance 1
        ("single", 2 - 2 * math.exp(-1)),
        ("gaussian", sum(2 - 2 * math.exp(-1 / a) for a in ALPHAS)),
        ("laplacian", sum(2 - 2 * math.exp(-2 / a) for a in ALPHAS)),
        ("linear", 4.0),
    ],
)
@pytest.mark.parametrize("unbiased", [True, False])
def test_values_by_hand(kernel: str, expected: float, unbiased: bool) -> None:
    a, b = torch.zeros(2, 1), torch.full((2, 1), 2.0)
    assert mk_mmd(a, b, KERNELS[kernel], unbiased).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("factors", [[2 * a for a in ALPHAS], ALPHAS[::-1], [3.0, 1.5, 0.7], [1.0, 1.0, 0.5], [0.3]])
def test_summands_that_are_squares_of_another_equal_their_own_exponentials(factors: list[float]) -> None:
    distances = normal(6, 6, seed=1).square().requires_grad_()
    relative = distances / distances.detach().mean()
    expected = torch.stack([torch.exp(-relative / factor) for factor in factors]).sum(0)
    found = _mixture(distances, factors)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    pair = [torch.autograd.grad(kernel.pow(2).sum(), distances)[0] for kernel in (found, expected)]
    torch.testing.assert_close(*pair, atol=1e-12, rtol=0)
    single = _mixture(distances.detach().float(), factors)
    torch.testing.assert_close(single, expected.detach().float(), atol=1e-6, rtol=3e-6)


@each_kernel
def test_it_is_symmetric(kernel: str) -> None:
    a, b = normal(6, 3, seed=1), 2 * normal(6, 3, seed=2)
    for unbiased in (True, False):
        one, other = mk_mmd(a, b, KERNELS[kernel], unbiased), mk_mmd(b, a, KERNELS[kernel], unbiased)
        torch.testing.assert_close(one, other, atol=1e-12, rtol=0)


@each_kernel
def test_a_permutation_of_the_items_changes_nothing(kernel: str) -> None:
    a, b, order = normal(6, 3, seed=1), 2 * normal(6, 3, seed=2), torch.tensor([3, 1, 5, 0, 2, 4])
    for unbiased in (True, False):
        plain, both = (mk_mmd(x, y, KERNELS[kernel], unbiased) for x, y in ((a, b), (a[order], b[order])))
        torch.testing.assert_close(both, plain, atol=1e-12, rtol=0)
    one_side = mk_mmd(a, b[order], KERNELS[kernel], unbiased=False)
    torch.testing.assert_close(one_side, mk_mmd(a, b, KERNELS[kernel], unbiased=False), atol=1e-12, rtol=0)


@pytest.mark.parametrize("kernel", ["gaussian", "laplacian"])
@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_a_common_scale_or_shift_changes_nothing(kernel: str, scale: float) -> None:
    a, b = normal(6, 3, seed=1), 1 + normal(6, 3, seed=2)
    plain = mk_mmd(a, b, KERNELS[kernel])
    torch.testing.assert_close(mk_mmd(scale * a, scale * b, KERNELS[kernel]), plain, atol=1e-9, rtol=0)
    torch.testing.assert_close(mk_mmd(a + 9, b + 9, KERNELS[kernel]), plain, atol=1e-9, rtol=0)


@each_kernel
def test_equal_sides_are_exactly_apart_by_nothing(kernel: str) -> None:
    a = normal(7, 3, seed=1)
    assert mk_mmd(a, a.clone(), KERNELS[kernel]).item() == pytest.approx(0, abs=1e-12)


def test_the_published_numbers_of_the_reference_estimator() -> None:
    def value(m: int, scale: float = 1.0, same: bool = False) -> float:
        a, b = normal(m, 128, seed=1), normal(m, 128, seed=2)
        return mk_mmd(a, a if same else scale * b, unbiased=False, offset=True).item()

    assert value(64, same=True) == pytest.approx(-0.062, abs=0.005)  # the law's width is not known for this one
    assert value(672, same=True) == pytest.approx(-0.006, abs=5e-4)
    assert value(672) == pytest.approx(0.003, abs=5e-4)
    assert value(672, scale=0.01) == pytest.approx(2.31, abs=0.01)


def test_one_law_is_told_from_another_as_points_are_added() -> None:
    def mean(m: int, shift: float) -> float:
        pairs = [(normal(m, 4, seed=2 * s), normal(m, 4, seed=2 * s + 1) + shift) for s in range(4)]
        return sum(abs(mk_mmd(a, b).item()) for a, b in pairs) / len(pairs)

    same = [mean(m, 0.0) for m in (8, 64, 320)]
    assert same[0] > same[1] > same[2]
    assert same[2] < 0.02 < 0.1 < mean(320, 0.5)


def test_unbiased_where_rows_belong_together() -> None:
    draws = [normal(4, 3, seed=s) for s in range(2000)]  # one law on both sides, row i of b is minus row i of a
    for unbiased, expected in ((True, 0.0), (False, 2 * 3 / 4)):  # -2/M E<a_i, b_i> = 2 D / M
        mean = torch.stack([mk_mmd(a, -a, Linear(), unbiased) for a in draws]).mean()
        assert mean.item() == pytest.approx(expected, abs=0.1)


@each_kernel
@pytest.mark.parametrize("at", [0.0, 1.1, 300.7])
def test_points_that_coincide_have_a_harmless_gradient(kernel: str, at: float) -> None:
    a, b = leaf(torch.full((5, 3), at)), leaf(torch.full((5, 3), at))
    loss = mk_mmd(a, b, KERNELS[kernel])
    for gradient in torch.autograd.grad(loss, (a, b)):
        assert gradient.isfinite().all()
        assert gradient.abs().max() < 1e-3 * max(at, 1)
    assert loss.item() == pytest.approx(0, abs=1e-6 * max(at, 1) ** 2)


def test_mixed_precision_stays_outside() -> None:
    a, b = normal(16, 8, seed=1).float(), normal(16, 8, seed=2).float()
    plain = mk_mmd(a, b)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = mk_mmd(a, b)
        assert mk_mmd(a.bfloat16(), b.bfloat16()).dtype == torch.float32
    assert inside.dtype == torch.float32
    assert torch.equal(inside, plain)


def test_distances_of_points_far_from_the_origin_are_exact() -> None:
    points = 1000 + 0.01 * normal(6, 3).float()
    expected = (points[:, None] - points).double().square().sum(-1)
    torch.testing.assert_close(squared_distances(points).double(), expected, atol=0, rtol=1e-5)


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_points_are_zero(count: int) -> None:
    assert mk_mmd(normal(count, 3), normal(count, 3), offset=True).item() == 0


def test_the_term_hands_its_settings_on() -> None:
    a, b = normal(5, 3, seed=1), 2 * normal(5, 3, seed=2)
    term = MMD(0.2, kernel=Laplacian([1.0]), unbiased=False, offset=True)
    assert torch.equal(term.compare(a, b), mk_mmd(a, b, Laplacian([1.0]), unbiased=False, offset=True))
    assert torch.equal(MMD(0.2).compare(a, b), mk_mmd(a, b))
    assert term.compare(a, b) != mk_mmd(a, b)


@pytest.mark.parametrize("kernel", [Gaussian, Laplacian])
@pytest.mark.parametrize("alphas", [[], [1.0, 0.0]])
def test_impossible_bandwidths_are_refused(kernel: Any, alphas: list[float]) -> None:
    with pytest.raises(ValueError, match="wanted at least one, all positive"):
        kernel(alphas)
