"""Cross-entropy over the catalogue, block by block, so that memory never holds all logits."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

# Rows of logits begin at multiples of 16 bytes in any type; a GPU's products take up to ten times as long otherwise.
_ALIGNMENT = 8


class _LinearCrossEntropy(torch.autograd.Function):
    """Computes the loss and, from the same blocks of logits, both gradients."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, table: Tensor, targets: Tensor, candidates: Tensor, block: int, products: torch.dtype
    ) -> Tensor:
        count = len(candidates)
        # the candidates' vectors, padded, and the row of each item among them
        vectors = F.pad(table.index_select(0, candidates), (0, 0, 0, -count % _ALIGNMENT))
        place = candidates.new_full((len(table),), -1)
        place[candidates] = torch.arange(count, device=candidates.device)
        grad_hidden, grad_vectors = torch.empty_like(hidden), torch.zeros_like(vectors)
        total = hidden.new_zeros(())
        columns = vectors.to(products)
        for start in range(0, len(hidden), block):
            # loss of the block
            rows = slice(start, start + block)
            part, target = hidden[rows], place[targets[rows, None]]
            logits = (part.to(products) @ columns.T).to(part.dtype)
            logits[:, count:] = -torch.inf
            target_logits, top = logits.gather(1, target), logits.amax(1, keepdim=True)
            weights = logits.sub_(top).exp_()  # softmax = weights / norm
            norm = weights.sum(1, keepdim=True)
            total += (norm.log() + top - target_logits).sum()
            # its gradients
            residual = weights.scatter_add_(1, target, -norm).to(products)  # norm times the gradient by the logits
            grad_hidden[rows] = (residual @ columns) / norm
            grad_vectors += residual.T @ (part / norm).to(products)
        ctx.save_for_backward(grad_hidden, torch.zeros_like(table).index_copy_(0, candidates, grad_vectors[:count]))
        ctx.count = max(len(hidden), 1)
        return total / ctx.count

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad_hidden, grad_table = ctx.saved_tensors
        scale = grads[0] / ctx.count
        return grad_hidden * scale, grad_table * scale, None, None, None, None


def linear_cross_entropy(
    hidden: Float[Tensor, "M E"],
    table: Float[Tensor, "R E"],
    targets: Int[Tensor, "M"],
    candidates: Int[Tensor, "K"],
    block: int = 256,
    products: torch.dtype | None = None,
) -> Float[Tensor, ""]:
    """``mean_m -log softmax(hidden table^T)[m, targets_m]`` over ``candidates`` alone.

    Equal to ``F.cross_entropy`` on the full logits, in value and gradient, with ``block`` x K logits at a time; 0 for M = 0.
    Under autocast it computes in the wider type of its two operands, since it sums over the whole catalogue.

    Args:
        hidden: states that predict.
        table: vectors of all items.
        targets: row of ``table`` each state should score highest; one of ``candidates``.
        candidates: ids of the rows in the denominator.
        block: states whose logits are in memory at once.
        products: type of the three matrix products' operands; None for that of ``hidden`` and ``table``. In bfloat16 they
            are 2 to 3 times faster on devices that support it, with 8 bits for logits and gradients; sums stay wide.

    Raises:
        RuntimeError: a target is no candidate.
    """
    wider = torch.promote_types(hidden.dtype, table.dtype)
    with torch.autocast(hidden.device.type, enabled=False):
        return _LinearCrossEntropy.apply(
            hidden.to(wider), table.to(wider), targets, candidates, max(block, 1), products or wider
        )
