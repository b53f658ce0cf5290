"""Contrastive losses between two sides whose rows belong together: in-batch, decoupled and with soft targets.

Each is called as ``form(a, b, temperature)``: a and b [M, D], whose rows i belong together; the temperature is a number, or a
tensor that may be trained.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class InfoNCE:
    """In-batch cross-entropy, both ways: row i of one side against all rows of the other.

    ``S = A B^T / t``; ``loss = - mean_i 1/2 [ log row_softmax(S)_ii + log row_softmax(S^T)_ii ]``. Never negative; the
    logarithm of M where all rows are alike; 0 for M = 0. Equal rows count as each other's negatives, so give distinct items.

    Args:
        cosine: compare directions; False takes inner products, in which long vectors win.

    Reference: van den Oord et al., "Representation Learning with Contrastive Predictive Coding", with the positive kept in
    the denominator.
    """

    cosine: bool = True

    def __call__(
        self, a: Float[Tensor, "M D"], b: Float[Tensor, "M D"], temperature: float | Tensor
    ) -> Float[Tensor, ""]:
        if not len(a):
            return a.new_zeros(())
        scores = _similarities(a, b, self.cosine) / temperature
        diagonal = torch.arange(len(a), device=a.device)
        return (F.cross_entropy(scores, diagonal) + F.cross_entropy(scores.T, diagonal)) / 2


@dataclass(frozen=True)
class Decoupled:
    """As :class:`InfoNCE`, with the positive left out of the denominator.

    ``loss = mean_i 1/2 [ log sum_{k != i} exp S_ik + log sum_{k != i} exp S_ki ] - mean_i S_ii``; 0 for M < 2.

    Unbounded below under inner products: longer vectors alone lower it for ever. With ``cosine`` it is at least
    ``log(M - 1) - 2 / t``; a smaller t alone lowers it too, so clamp a trained one.

    Args:
        cosine: compare directions; False is the paper's form.

    Reference: LLMEmb, equations 4, 5 and 7. Differs: the mean of the two directions, so that a weight means the same for
    every form; the paper's sum with weight alpha is this with 2 alpha.
    """

    cosine: bool = True

    def __call__(
        self, a: Float[Tensor, "M D"], b: Float[Tensor, "M D"], temperature: float | Tensor
    ) -> Float[Tensor, ""]:
        if len(a) < 2:
            return a.new_zeros(())
        scores = _similarities(a, b, self.cosine) / temperature
        others = scores.masked_fill(torch.eye(len(a), dtype=torch.bool, device=a.device), -torch.inf)
        return (others.logsumexp(1) + others.logsumexp(0)).mean() / 2 - scores.diagonal().mean()


@dataclass(frozen=True)
class SoftTargets:
    """Cross-entropy of the similarities between two sides against soft targets made of the similarities within both.

    ``S = A B^T / t``; ``T = row_softmax((A A^T + B B^T) / 2 * t)``;
    ``loss = mean_i 1/2 [ - sum_j T_ij log row_softmax(S)_ij - sum_j T_ji log row_softmax(S^T)_ij ]``; 0 for M = 0.

    The temperature divides S and multiplies the targets' logits, as in the reference.

    Args:
        cosine: compare directions; the temperature divides the targets' logits too.
        detach_targets: T is a constant; False lets gradients flow through it, as in the reference.

    Reference: LLM-ESR code, its item regulariser. LLMEmb's code has the same in both of its stages, with gradient through T
    (and there through a trained t); T acts as a hard target only where vectors are long.
    """

    cosine: bool = False
    detach_targets: bool = False

    def __call__(
        self, a: Float[Tensor, "M D"], b: Float[Tensor, "M D"], temperature: float | Tensor
    ) -> Float[Tensor, ""]:
        if not len(a):
            return a.new_zeros(())
        if self.cosine:
            a, b = F.normalize(a, dim=1), F.normalize(b, dim=1)
        # logits between the sides, and targets within each
        scores = a @ b.T / temperature
        within = (a @ a.T + b @ b.T) / 2
        targets = F.softmax(within / temperature if self.cosine else within * temperature, dim=1)
        if self.detach_targets:
            targets = targets.detach()
        # cross-entropy of rows and of columns
        forward = -(targets * F.log_softmax(scores, dim=1)).sum(1)
        backward = -(targets.T * F.log_softmax(scores.T, dim=1)).sum(1)
        return (forward + backward).mean() / 2


def _similarities(a: Float[Tensor, "M D"], b: Float[Tensor, "M D"], cosine: bool) -> Float[Tensor, "M M"]:
    return F.normalize(a, dim=1) @ F.normalize(b, dim=1).T if cosine else a @ b.T
