"""Contrastive losses between two sides whose rows belong together: in-batch, decoupled and with soft targets.

Each is a function of two matrices; :class:`InfoNCE`, :class:`Decoupled` and :class:`SoftTargets` are the same as objects, for
parts that leave the choice to their user.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def info_nce(
    a: Float[Tensor, "M D"], b: Float[Tensor, "M D"], temperature: float | Tensor, cosine: bool = True
) -> Float[Tensor, ""]:
    """In-batch cross-entropy, both ways: row i of one side is to be found among all rows of the other.

    ``S = A B^T / t``; ``loss = - mean_i 1/2 [ log row_softmax(S)_ii + log row_softmax(S^T)_ii ]``. Never negative; the
    logarithm of M where nothing is told apart. Equal rows count as each other's negatives, so give distinct items.

    Args:
        a, b: the two sides, row i of both belonging together.
        temperature: t; a tensor may be trained.
        cosine: compare directions; False takes inner products, in which long vectors win.

    Returns:
        The loss; 0 for M = 0.

    Reference: van den Oord et al., "Representation Learning with Contrastive Predictive Coding", with the positive kept in
    the denominator.
    """
    if not len(a):
        return a.new_zeros(())
    scores = _similarities(a, b, cosine) / temperature
    own = torch.arange(len(a), device=a.device)
    return (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2


def decoupled_contrastive(
    a: Float[Tensor, "M D"], b: Float[Tensor, "M D"], temperature: float | Tensor, cosine: bool = True
) -> Float[Tensor, ""]:
    """As :func:`info_nce`, with the positive left out of the denominator.

    ``loss = mean_i 1/2 [ log sum_{k != i} exp S_ik + log sum_{k != i} exp S_ki ] - mean_i S_ii``.

    Unbounded below under inner products: longer vectors alone lower it for ever. With ``cosine`` it is at least
    ``log(M - 1) - 2 / t``.

    Args:
        a, b: the two sides, row i of both belonging together.
        temperature: t; a tensor may be trained, but a smaller one alone lowers this loss too: clamp it.
        cosine: compare directions; False is the paper's form.

    Returns:
        The loss; 0 for M < 2, where there is nothing to tell apart.

    Reference: LLMEmb, equations 4, 5 and 7. Differs: the mean of the two directions, so that a weight means the same for
    every form; the paper's sum with weight alpha is this with 2 alpha.
    """
    if len(a) < 2:
        return a.new_zeros(())
    scores = _similarities(a, b, cosine) / temperature
    others = scores.masked_fill(torch.eye(len(a), dtype=torch.bool, device=a.device), -torch.inf)
    return (others.logsumexp(1) + others.logsumexp(0)).mean() / 2 - scores.diagonal().mean()


def soft_contrastive(
    x: Float[Tensor, "M D"],
    y: Float[Tensor, "M D"],
    temperature: float | Tensor = 1.0,
    detach_targets: bool = True,
    cosine: bool = False,
) -> Float[Tensor, ""]:
    """Cross-entropy of the similarities between x and y against soft targets made of the similarities within each.

    ``S = X Y^T / t``; ``T = row_softmax((X X^T + Y Y^T) / 2 * t)``;
    ``loss = mean_i 1/2 [ - sum_j T_ij log row_softmax(S)_ij - sum_j T_ji log row_softmax(S^T)_ij ]``.

    Args:
        x, y: the two sides, row i of both belonging together.
        temperature: t; it divides S and multiplies the targets' logits, as in the reference.
        detach_targets: T is a constant; False lets gradients flow through it, as in the reference.
        cosine: compare directions: x and y are normalised, and the temperature divides the targets' logits too.

    Returns:
        The loss; 0 for M = 0.

    Reference: LLM-ESR code, its item regulariser. LLMEmb's code has the same in both of its stages, with gradient through T
    (and there through a trained t); T acts as a hard target only where vectors are long.
    """
    if not len(x):
        return x.new_zeros(())
    if cosine:
        x, y = F.normalize(x, dim=1), F.normalize(y, dim=1)
    scores = x @ y.T / temperature
    within = (x @ x.T + y @ y.T) / 2
    targets = F.softmax(within / temperature if cosine else within * temperature, dim=1)
    if detach_targets:
        targets = targets.detach()
    forward = -(targets * F.log_softmax(scores, dim=1)).sum(1)
    backward = -(targets.T * F.log_softmax(scores.T, dim=1)).sum(1)
    return (forward + backward).mean() / 2


def _similarities(a: Float[Tensor, "M D"], b: Float[Tensor, "M D"], cosine: bool) -> Float[Tensor, "M M"]:
    return F.normalize(a, dim=1) @ F.normalize(b, dim=1).T if cosine else a @ b.T


@dataclass(frozen=True)
class InfoNCE:
    """:func:`info_nce` as an object.

    Args:
        cosine: compare directions rather than inner products.
    """

    cosine: bool = True

    def __call__(
        self, a: Float[Tensor, "M D"], b: Float[Tensor, "M D"], temperature: float | Tensor
    ) -> Float[Tensor, ""]:
        return info_nce(a, b, temperature, self.cosine)


@dataclass(frozen=True)
class Decoupled:
    """:func:`decoupled_contrastive` as an object.

    Args:
        cosine: compare directions; False, the paper's form, has no lower bound.
    """

    cosine: bool = True

    def __call__(
        self, a: Float[Tensor, "M D"], b: Float[Tensor, "M D"], temperature: float | Tensor
    ) -> Float[Tensor, ""]:
        return decoupled_contrastive(a, b, temperature, self.cosine)


@dataclass(frozen=True)
class SoftTargets:
    """:func:`soft_contrastive` as an object; the defaults are the form of LLMEmb's code.

    Args:
        cosine: compare directions rather than inner products.
        detach_targets: the soft targets are constants.
    """

    cosine: bool = False
    detach_targets: bool = False

    def __call__(
        self, a: Float[Tensor, "M D"], b: Float[Tensor, "M D"], temperature: float | Tensor
    ) -> Float[Tensor, ""]:
        return soft_contrastive(a, b, temperature, self.detach_targets, self.cosine)
