"""How much of the training each loss term decides: its gradient beside that of the recommendation loss."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from sage_pl import processes
from sage_pl.ranges import Count

log = logging.getLogger(__name__)

OBJECTIVE = "recommendation"
LOW, HIGH = 0.01, 1.0


class TermGradients(pl.Callback):
    """Logs ``train/grad_share/<term>``, the norm of a weighted term's gradient by that of the recommendation loss's.

    The gradient is that of all trained weights. A term under 1 % or over 100 % gets one line. Measured in the last step of the
    first epoch and of every ``every_n_epochs`` after it, from the step's own graph: nothing is drawn twice, and the training
    stays the same.

    Args:
        every_n_epochs: epochs from one measurement to the next.
    """

    def __init__(self, every_n_epochs: Count = 10) -> None:
        self.every_n_epochs = every_n_epochs
        self._reported: set[str] = set()

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        if trainer.current_epoch % self.every_n_epochs or not trainer.is_last_batch:
            return
        losses: Mapping[str, Tensor] = pl_module.weighted_losses  # type: ignore[assignment]
        shares = gradient_shares(losses, [p for p in pl_module.parameters() if p.requires_grad])
        for name, share in shares.items():
            pl_module.log(f"train/grad_share/{name}", share, on_step=False, on_epoch=True, batch_size=1, sync_dist=True)
            self._report(name, share.item())

    def _report(self, name: str, share: float) -> None:
        if name in self._reported or LOW <= share <= HIGH:
            return
        self._reported.add(name)
        effect, change = ("changes next to nothing", "raise") if share < LOW else ("outweighs it", "lower")
        log.warning(
            "the gradient of the loss term %s is %.3g %% of the recommendation loss's, so the term %s; %s loss.terms.%s.weight",
            *(name, 100 * share, effect, change, name),
        )


def gradient_shares(losses: Mapping[str, Tensor], parameters: Iterable[torch.nn.Parameter]) -> dict[str, Tensor]:
    """Norm of each term's gradient by that of the recommendation loss; the graph stays for the training's own step.

    Args:
        losses: weighted, by name. Without a recommendation loss, or with one that has no gradient, the result is empty.
        parameters: the gradient's.
    """
    parameters = list(parameters)
    if losses.keys() == {OBJECTIVE}:
        return {}
    norms = {name: _norm(loss, parameters) for name, loss in losses.items() if loss.requires_grad}
    reference = norms.pop(OBJECTIVE, None)
    if reference is None or not reference:
        return {}
    return {name: norm / reference for name, norm in norms.items()}


def _norm(loss: Tensor, parameters: list[torch.nn.Parameter]) -> Tensor:
    gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    whole = [processes.mean(gradient) for gradient in gradients if gradient is not None]
    dense = [g.coalesce().values() if g.is_sparse else g for g in whole]
    return get_total_norm(dense)
