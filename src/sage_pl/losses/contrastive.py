"""The soft-target contrastive loss that alignment and distillation share."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def soft_contrastive(
    x: Float[Tensor, "M D"],
    y: Float[Tensor, "M D"],
    temperature: float = 1.0,
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

    Reference: LLM-ESR code, its item regulariser.
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
