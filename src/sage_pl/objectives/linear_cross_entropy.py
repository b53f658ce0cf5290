"""Cross-entropy over the catalogue that never holds all logits: they are made, used and dropped block by block."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class _LinearCrossEntropy(torch.autograd.Function):
    """Computes the loss and, while the block of logits is at hand, both gradients."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, table: Tensor, targets: Tensor, excluded: Tensor, block: int) -> Tensor:
        grad_hidden, grad_table = torch.empty_like(hidden), torch.zeros_like(table)
        total = hidden.new_zeros(())
        for start in range(0, len(hidden), block):
            part, target = hidden[start : start + block], targets[start : start + block]
            logits = part @ table.T
            logits[:, excluded] = float("-inf")
            log_sum = logits.logsumexp(1, keepdim=True)
            total += (log_sum.squeeze(1) - logits.gather(1, target[:, None]).squeeze(1)).sum()
            residual = logits.sub_(log_sum).exp_()  # softmax - one-hot: the gradient by the logits
            residual.scatter_add_(1, target[:, None], residual.new_full((len(part), 1), -1.0))
            torch.mm(residual, table, out=grad_hidden[start : start + block])
            grad_table.addmm_(residual.T, part)
        ctx.save_for_backward(grad_hidden, grad_table)
        ctx.count = max(len(hidden), 1)
        return total / ctx.count

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad_hidden, grad_table = ctx.saved_tensors
        scale = grads[0] / ctx.count
        return grad_hidden * scale, grad_table * scale, None, None, None


def linear_cross_entropy(
    hidden: Float[Tensor, "M E"],
    table: Float[Tensor, "R E"],
    targets: Int[Tensor, "M"],
    excluded: Bool[Tensor, "R"],
    block: int = 256,
) -> Float[Tensor, ""]:
    """``mean_m -log softmax(hidden table^T)[m, targets_m]`` with ``excluded`` rows left out of the candidates.

    Equal to ``F.cross_entropy`` on the full logits, in value and gradient; holds ``block`` x R logits at a time. 0 for
    M = 0.

    Args:
        hidden: states that predict.
        table: vectors of all items.
        targets: row of ``table`` each state should score highest; never an excluded row.
        excluded: rows that are no candidates.
        block: states whose logits are held at once.

    Under autocast it computes in the wider type of its two operands, since it sums over the whole catalogue.
    """
    wider = torch.promote_types(hidden.dtype, table.dtype)
    with torch.autocast(hidden.device.type, enabled=False):
        return _LinearCrossEntropy.apply(
            hidden.to(wider), table.to(wider), targets, excluded.nonzero().squeeze(1), block
        )
