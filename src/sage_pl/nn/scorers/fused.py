"""Parts of a fused score, and the formula that combines them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sage_pl.types import real


class Weights(NamedTuple):
    """What is chosen on the validation cases.

    ``text`` and ``transitions`` weigh the two parts beside the model's scores. ``copy``, ``position``, ``times`` and ``habit``
    change the log-probability of the history's items, see :class:`sage_pl.nn.scorers.fusion.Fusion`.
    """

    text: float = 0.0
    transitions: float = 0.0
    copy: float = 0.0
    position: float = 0.0
    times: float = 0.0
    habit: float = 0.0


class Parts(NamedTuple):
    """The parts of fused scores; None where there is none."""

    model: Float[Tensor, "b R"]  # the scores of unseen items filled
    text: Float[Tensor, "b R"] | None  # cosines
    text_scale: Float[Tensor, "b 1"]  # sd_u(L) / sd_u(text)
    walks: Float[Tensor, "b R"] | None  # log(1 + 200 w)
    walk_scale: Float[Tensor, "b 1"]  # sd_u(L)
    copies: Copies | None


class Copies(NamedTuple):
    """The distinct items of a history, at their last positions."""

    items: Int[Tensor, "b L"]  # 0 where an item occurs again later
    position: Float[Tensor, "b L"]  # log(1 + distance from the end)
    times: Float[Tensor, "b L"]  # log of how often it occurs
    habit: Float[Tensor, "b 1"]  # min(1, sqrt(3 times the share of repeats))


def combine(parts: Parts, weights: Weights) -> Float[Tensor, "b R"]:
    """The scores of :class:`sage_pl.nn.scorers.fusion.Fusion`."""
    fused = parts.model
    if parts.text is not None and weights.text:
        fused = torch.addcmul(fused, weights.text * parts.text_scale, parts.text)
    if parts.walks is not None and weights.transitions:
        fused = torch.addcmul(fused, weights.transitions * parts.walk_scale, parts.walks)
    return fused if parts.copies is None else _mixed(parts.model, fused, parts.copies, weights)


def _mixed(
    model: Float[Tensor, "b R"], fused: Float[Tensor, "b R"], copies: Copies, weights: Weights
) -> Float[Tensor, "b R"]:
    """Copying and exploring; the fused scores of the others stay, and the copies' are set beside them."""
    items, held = copies.items, real(copies.items)
    total = model[:, 1:-1].logsumexp(1, keepdim=True)
    logs = model.gather(1, items) - total
    mass = torch.where(held, logs.exp(), 0.0).sum(1, keepdim=True).clamp(max=1 - 1e-6)
    others = fused.scatter(1, items, -torch.inf)[:, 1:-1].logsumexp(1, keepdim=True)
    others = others.where(others.isfinite(), 0.0)  # a history of every item leaves no others
    bonus = weights.copy - weights.position * copies.position + weights.times * copies.times
    bonus = bonus + weights.habit * copies.habit
    values = logs + bonus + others - torch.log1p(-mass)
    return fused.scatter(1, items, values.where(held, -torch.inf))  # column 0 takes those of no copy


def copies(items: Int[Tensor, "b L"], age: Int[Tensor, "b L"]) -> Copies:
    same = (items[:, :, None] == items[:, None]) & real(items)[:, None]
    later = torch.triu(torch.ones_like(same[0]), 1)
    last = real(items) & ~(same & later).any(2)
    repeats = 1 - last.sum(1, keepdim=True) / real(items).sum(1, keepdim=True).clamp(min=1)
    return Copies(
        items=items.where(last, 0),
        position=torch.log1p(age.clamp(min=0).float()),
        times=same.sum(2).clamp(min=1).float().log(),
        habit=(3 * repeats).sqrt().clamp(max=1),
    )
