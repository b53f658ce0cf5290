"""The weights of a fused score, chosen on validation cases after training."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sage_pl.evaluation.rows import row_ranks
from sage_pl.nn.scorers.fused import Parts, Weights, combine
from sage_pl.types import Case

log = logging.getLogger(__name__)
_K = 10
_ERRORS = 2.0
Objective = Literal["overall", "new"]
MIX = tuple(itertools.product((0.0, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.5), (0.0, 0.1, 0.3, 0.6, 1.0, 2.0)))
COPY = tuple(itertools.product((0.0, 0.5, 1.0, 2.0, 3.0, 4.0), (0.0, 3.0, 6.0)))
ORDER = tuple(itertools.product((0.0, 0.5, 1.0), (0.0, 1.0)))
_PARTS = (MIX, ("text", "transitions"))
_ROUNDS = (_PARTS, (COPY, ("copy", "habit")), (ORDER, ("position", "times")), _PARTS)


class Gains(NamedTuple):
    """NDCG@10 of C candidates on K cases, and which cases count as new and as rare."""

    values: Float[Tensor, "C K"]
    new: Float[Tensor, "K"]
    rare: Float[Tensor, "K"]


def chosen_weights(
    parts: Callable[[Case], Parts],
    rare: Bool[Tensor, "R"],
    cases: Callable[[], Iterable[Case]],
    objective: Objective,
    copies: bool,
) -> Weights:
    """The weights for the validation cases: first text and transitions, with ``copies`` then those of copies, then text and
    transitions again.

    In each round the best candidate by NDCG@10 is found. Among those within two standard errors of it (of the paired
    difference) the one with the best NDCG@10 on rare answers is taken: the optimum is flat, models fail on rare items, and
    the model's own scores look better on validation cases, by which its epoch was chosen, than on later ones.

    Args:
        parts: of a block of cases.
        rare: items whose answers count as rare.
        cases: called once a round.
        objective: ``overall``; ``new``: overall, among candidates that rank new answers no worse than the model alone.
        copies: whether items recur.
    """
    weights, before, after = Weights(), 0.0, 0.0
    for grid, names in _ROUNDS if copies else [_PARTS]:
        options = [Weights(), weights, *(weights._replace(**dict(zip(names, point, strict=True))) for point in grid)]
        gains = _gains(parts, rare, cases(), options)
        at = best(gains, objective)
        weights, before, after = options[at], float(gains.values[0].mean()), float(gains.values[at].mean())
    texts = ", ".join(f"{name} {value:g}" for name, value in weights._asdict().items())
    log.info("fusion: %s; ndcg@10 of %d validation cases %.4f -> %.4f", texts, gains.values.shape[1], before, after)
    return weights


def best(gains: Gains, objective: Objective, errors: float = _ERRORS) -> int:
    """The candidate that :func:`chosen_weights` takes, within so many standard errors of the best; candidate 0 is the model
    alone."""
    values, means = gains.values, admitted(gains, objective)
    top = int(means.argmax())
    size = values.shape[1]
    deviations = (values[top] - values).std(1, correction=min(1, size - 1)) / size**0.5  # 0 of a single case
    near = (means >= 0) & (means >= means[top] - errors * deviations)
    of_rare = torch.where(near, (values * gains.rare).sum(1), -1.0)
    return int(torch.where(of_rare == of_rare.max(), means, -1.0).argmax())


def admitted(gains: Gains, objective: Objective) -> Float[Tensor, "C"]:
    """Mean NDCG@10 of every candidate; -1 of those that ``objective`` does not admit."""
    means = gains.values.mean(1)
    if objective == "overall":
        return means
    of_new = (gains.values * gains.new).sum(1)
    return means.where(of_new >= of_new[0], -1.0)


def _gains(
    parts: Callable[[Case], Parts], rare: Bool[Tensor, "R"], cases: Iterable[Case], candidates: Sequence[Weights]
) -> Gains:
    def ranks(case: Case) -> Int[Tensor, "C b"]:
        block = parts(case)
        effective = [_effective(block, weights) for weights in candidates]
        by_weights = {weights: case_ranks(combine(block, weights), case) for weights in dict.fromkeys(effective)}
        return torch.stack([by_weights[weights] for weights in effective])

    return measured(ranks, rare, cases)


def measured(ranks: Callable[[Case], Int[Tensor, "C b"]], rare: Bool[Tensor, "R"], cases: Iterable[Case]) -> Gains:
    """The gains of candidates by the ranks of a block's answers."""
    values, new, of_rare = [], [], []
    for case in cases:
        of_case = ranks(case)
        values.append(torch.where(of_case <= _K, 1 / (of_case + 1).log2(), 0.0).double().cpu())
        new.append(~(case.items == case.answers[:, None]).any(1).cpu())
        of_rare.append(rare[case.answers].cpu())
    return Gains(torch.cat(values, 1), torch.cat(new).double(), torch.cat(of_rare).double())


def _effective(block: Parts, weights: Weights) -> Weights:
    """The weights without those of parts that are not there."""
    text, transitions = 0.0 if block.text is None else weights.text, 0.0 if block.walks is None else weights.transitions
    return weights._replace(text=text, transitions=transitions)


def case_ranks(scores: Float[Tensor, "b R"], case: Case) -> Int[Tensor, "b"]:
    """The rank of every answer by scores of all items."""
    return row_ranks([(slice(None), scores.clone())], case.answers, case.seen)["full"]
