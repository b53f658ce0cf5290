"""Adam whose update of a table costs as much as the rows with a gradient, for any size of the table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim.adam import adam

from sage_pl.errors import SettingError
from sage_pl.ranges import Dropout, Rate, Share, Weight


class RowAdam(torch.optim.Optimizer):
    """Adam where a gradient is dense, and Adam of its rows alone where it is sparse (``item_encoder.sparse=true``).

    ``m <- b1 m + (1 - b1) g``, ``v <- b2 v + (1 - b2) g^2``, ``w <- w - lr sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + eps)``.
    A row without a gradient costs nothing: the row, its m and v stay unchanged, where Adam moves it by its old m. The step
    count t is per parameter, not per row, so the first step of a late row moves it by up to
    ``(1 - b1) / sqrt(1 - b2)`` = 3.2 times lr. With every row in every step it is Adam, except for the place of eps.

    Gradient clipping (``trainer.gradient_clip_val``) has no sparse form in torch; clip only with
    ``item_encoder.sparse=false``.

    Args:
        params: parameters, or groups of them.
        lr: learning rate, positive.
        betas: b1 and b2, in [0, 1).
        eps: added to the root, at least 0.
        weight_decay: factor of the squared norm's gradient, for dense gradients alone; sparse ones require 0, since decay
            moves every row in every step.

    Raises:
        SettingError: an argument is out of its range, or weight decay meets a sparse gradient.

    Reference: Kingma and Ba 2015, "Adam"; torch.optim.SparseAdam, whose values it repeats for sparse gradients.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: Rate = 0.001,
        betas: Sequence[Dropout] = (0.9, 0.999),
        eps: Share = 1e-8,
        weight_decay: Weight = 0.0,
    ) -> None:
        if lr <= 0 or eps < 0 or weight_decay < 0:
            raise SettingError(
                f"optimizer.lr is {lr}, optimizer.eps {eps}, optimizer.weight_decay {weight_decay}; wanted a positive lr "
                "and eps and weight_decay of at least 0"
            )
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise SettingError(f"optimizer.betas are {list(betas)}, wanted two numbers in [0, 1), e.g. [0.9,0.999]")
        defaults = {"lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            for parameter in parameters:
                self._start(parameter)
            self._update_whole([parameter for parameter in parameters if not parameter.grad.is_sparse], group)
            for parameter in parameters:
                if parameter.grad.is_sparse:
                    self._update_rows(parameter, group)
        return loss

    def _start(self, parameter: nn.Parameter) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)

    def _update_whole(self, parameters: list[nn.Parameter], group: dict[str, Any]) -> None:
        states = [self.state[parameter] for parameter in parameters]
        adam(
            parameters,  # type: ignore[arg-type]
            [parameter.grad for parameter in parameters],  # type: ignore[misc]
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )

    def _update_rows(self, parameter: nn.Parameter, group: dict[str, Any]) -> None:
        if group["weight_decay"]:
            raise SettingError(
                f"optimizer.weight_decay is {group['weight_decay']} and a gradient is sparse; decay would have to move "
                "every row in every step: set optimizer.weight_decay=0 or item_encoder.sparse=false"
            )
        state, (beta1, beta2) = self.state[parameter], group["betas"]
        rows, values = _rows(parameter.grad)  # type: ignore[arg-type]
        state["step"] += 1
        count = state["step"].item()
        first = state["exp_avg"].index_select(0, rows).lerp_(values, 1 - beta1)
        second = state["exp_avg_sq"].index_select(0, rows).mul_(beta2).addcmul_(values, values, value=1 - beta2)
        state["exp_avg"].index_copy_(0, rows, first)
        state["exp_avg_sq"].index_copy_(0, rows, second)
        rate = group["lr"] * (1 - beta2**count) ** 0.5 / (1 - beta1**count)
        parameter.index_add_(0, rows, first.div_(second.sqrt_().add_(group["eps"])), alpha=-rate)


def _rows(gradient: Float[Tensor, "R ..."]) -> tuple[Tensor, Tensor]:
    """Distinct rows of a sparse gradient and their summed values; Adam is not linear in them, so they are summed first."""
    gradient = gradient.coalesce()
    if gradient.sparse_dim() != 1:
        raise SettingError(
            f"a gradient is sparse in {gradient.sparse_dim()} dimensions, wanted rows alone, as nn.Embedding(sparse=True)"
        )
    return gradient.indices()[0], gradient.values()
