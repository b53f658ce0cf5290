"""Maximum mean discrepancy: it aligns two views of the items as clouds of points instead of item by item."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from sage_pl.errors import SettingError
from sage_pl.nn.losses.view_alignment import ViewAlignment
from sage_pl.ranges import Pair, Positive, Weight

ALPHAS = (0.125, 0.25, 0.5, 1.0, 2.0)  # multipliers of the bandwidth; PAD's reference code
FLOOR = 1e-12  # of the bandwidth, which is 0 where all points coincide

Kernel = Callable[[Float[Tensor, "M D"]], Float[Tensor, "M M"]]
"""Similarities of all pairs of points; the bandwidth may depend on all of them."""


@dataclass(frozen=True)
class Gaussian:
    """``k(x, y) = sum_a exp(-|x - y|^2 / (2 a s))`` with s the mean squared distance over all pairs, a constant.

    A characteristic kernel: the discrepancy is 0 only between equal distributions.

    Args:
        alphas: the multipliers a, one summand each; ``[1]`` is a single Gaussian.
    """

    alphas: Sequence[Positive] = ALPHAS

    def __post_init__(self) -> None:
        _check_alphas(self.alphas)

    def __call__(self, points: Float[Tensor, "M D"]) -> Float[Tensor, "M M"]:
        return _mixture(squared_distances(points), [2 * alpha for alpha in self.alphas])


@dataclass(frozen=True)
class Laplacian:
    """``k(x, y) = sum_a exp(-|x - y|_1 / (a s))`` with s the mean of the distances over all pairs, a constant.

    Args:
        alphas: the multipliers a, one summand each.
    """

    alphas: Sequence[Positive] = ALPHAS

    def __post_init__(self) -> None:
        _check_alphas(self.alphas)

    def __call__(self, points: Float[Tensor, "M D"]) -> Float[Tensor, "M M"]:
        return _mixture(torch.cdist(points, points, p=1), self.alphas)


@dataclass(frozen=True)
class Linear:
    """``k(x, y) = <x, y>``: the discrepancy is the squared distance of the two means alone."""

    def __call__(self, points: Float[Tensor, "M D"]) -> Float[Tensor, "M M"]:
        return points @ points.T


def squared_distances(points: Float[Tensor, "M D"]) -> Float[Tensor, "M M"]:
    """``|x|^2 + |y|^2 - 2 <x, y>`` around the points' mean, never negative, without an [M, M, D] tensor.

    The differences of large numbers are taken in double precision (where the device has it), which a lowered
    ``matmul_precision`` does not affect.
    """
    exact = points if points.device.type == "mps" else points.double()
    exact = exact - exact.detach().mean(0)
    squares = exact.square().sum(1)
    distances = squares[:, None] + squares - 2 * exact @ exact.T
    return distances.clamp(min=0).to(points.dtype)


def mk_mmd(
    a: Float[Tensor, "M D"],
    b: Float[Tensor, "M D"],
    kernel: Kernel | None = None,
    unbiased: bool = True,
    offset: bool = False,
) -> Float[Tensor, ""]:
    """An estimate of the squared maximum mean discrepancy of two clouds of M points.

    ``1/(M(M-1)) sum_{i != j} [k(a_i, a_j) + k(b_i, b_j)]`` less twice the mean of ``k(a_i, b_j)``, over the pairs
    ``i != j`` (``unbiased``) or over all pairs. The former has the mean 0 under one law also where row i of both sides
    belongs together, and is exactly 0 between equal matrices; the latter draws rows that belong together to each other
    by a share of 1/M, and is invariant under permutations of one side. Either can be slightly negative: take no root.

    Args:
        a, b: the clouds; row i of both may be the same item.
        kernel: None for five Gaussians.
        unbiased: leave k(a_i, b_i) out; False is the reference's estimator.
        offset: add 2 / (M - 1), as the reference does; it has no gradient, and serves parity of the logged value.

    Returns:
        The estimate in float32 or better, also under autocast; 0 for M < 2.

    Reference: Gretton et al. 2012, "A kernel two-sample test", equation 4 (unbiased); PAD, section on alignment, whose
    code takes the classes of the Transfer-Learning-Library.
    """
    count = len(a)
    dtype = torch.promote_types(a.dtype, torch.float32)
    if count < 2:
        return torch.zeros((), dtype=dtype, device=a.device)
    with torch.autocast(a.device.type, enabled=False):
        k = (kernel or Gaussian())(torch.cat([a.to(dtype), b.to(dtype)]))
        of_a, of_b, cross = k[:count, :count], k[count:, count:], k[:count, count:]
        estimate = _mean_off_diagonal(of_a) + _mean_off_diagonal(of_b)
        estimate = estimate - 2 * (_mean_off_diagonal(cross) if unbiased else cross.mean())
        return estimate + 2 / (count - 1) if offset else estimate


def _mean_off_diagonal(k: Float[Tensor, "M M"]) -> Float[Tensor, ""]:
    return (k.sum() - k.diagonal().sum()) / (len(k) * (len(k) - 1))


def _mixture(distances: Float[Tensor, "M M"], factors: Sequence[float]) -> Float[Tensor, "M M"]:
    """``sum_f exp(-distance / (f s))`` with s the mean distance; a summand of half the last one's factor is its square."""
    relative = distances / distances.detach().mean().clamp(min=FLOOR)
    total = summand = torch.zeros_like(relative)
    last = 0.0
    for factor in sorted(factors, reverse=True):
        summand = summand * summand if 2 * factor == last else torch.exp(relative * (-1 / factor))
        total, last = total + summand, factor
    return total


def _check_alphas(alphas: Sequence[float]) -> None:
    if not alphas or min(alphas) <= 0:
        raise SettingError(f"the kernel's alphas are {list(alphas)}, wanted at least one, all positive, e.g. [0.5,1,2]")


class MMD(ViewAlignment):
    """:func:`mk_mmd` of two views of the step's items: their distributions become equal, whatever item lies where.

    The recommendation loss alone ties an item's text to its own ID vector. Without it the two clouds may meet anywhere, or
    collapse (``spectrum`` under callbacks measures that).

    Args:
        weight: gamma in the paper.
        views, max_items, unique: see :class:`ViewAlignment`.
        kernel: :class:`Gaussian`, :class:`Laplacian` or :class:`Linear`; None for five Gaussians.
        unbiased, offset: see :func:`mk_mmd`.

    Reference: PAD, recommendation-anchored alignment. Differs: the reference compares every slot of the batch, inputs and
    negatives, so that most rows are padding and popular items repeat; here each real item of the inputs counts once
    (``unique=False``: every occurrence, still without padding), the pairs of an item with itself are left out
    (``unbiased=False`` keeps them) and no constant is added (``offset``).
    """

    def __init__(
        self,
        weight: Weight,
        views: Sequence[str] = ("text", "id"),
        max_items: Pair | None = 512,
        unique: bool = True,
        kernel: Kernel | None = None,
        unbiased: bool = True,
        offset: bool = False,
    ) -> None:
        super().__init__(weight, views, max_items, unique)
        self.kernel = kernel
        self.unbiased = unbiased
        self.offset = offset

    def compare(self, a: Float[Tensor, "M D"], b: Float[Tensor, "M D"]) -> Float[Tensor, ""]:
        return mk_mmd(a, b, self.kernel, self.unbiased, self.offset)
