"""Ranks of held-out answers among candidates, without ever sorting.

The house rule, everywhere: rank = 1 + candidates scoring strictly higher + half of the other candidates that tie,
rounded up. A model that scores everything alike therefore lands in the middle instead of at the top.

Scores are dot products computed in float64 and rounded to float32. Single precision kernels add in an order that
depends on the batch size and on the item's place in the table, so equal items would score unequally in the last digit.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sage_pl.types import PADDING, TopK

_BLOCK = 2_000_000  # scores held at a time; about 60 MB with the copies


@torch.no_grad()
def rank(answer_scores: Float[Tensor, "B"], scores: Float[Tensor, "B K"]) -> Int[Tensor, "B"]:
    """1-based rank of each answer among the other candidates.

    ``1 + #{scores > answer} + ceil(#{scores = answer} / 2)``; a candidate that must not count scores ``-inf``.

    Args:
        answer_scores: one score per user.
        scores: the other candidates' scores, the answer not among them.

    Raises:
        ValueError: a score is NaN.

    >>> rank(torch.tensor([2.0, 2.0]), torch.tensor([[3.0, 1.0, 0.0], [2.0, 2.0, 2.0]])).tolist()
    [2, 3]
    """
    if torch.isnan(scores).any() or torch.isnan(answer_scores).any():
        raise ValueError("cannot rank NaN scores; the model has diverged: lower the learning rate or check its inputs")
    answer_scores = answer_scores[:, None]
    higher = (scores > answer_scores).sum(1, dtype=torch.int32)
    ties = (scores == answer_scores).sum(1, dtype=torch.int32)
    return (1 + higher + (ties + 1) // 2).long()


@torch.no_grad()
def full_ranks(
    states: Float[Tensor, "B E"],
    table: Float[Tensor, "R E"],
    answers: Int[Tensor, "B"],
    seen: Int[Tensor, "B M"] | None = None,
    block: int = _BLOCK,
) -> Int[Tensor, "B"]:
    """Rank of each answer among all real items 1..N.

    Args:
        states: one vector per user.
        table: one vector per item; rows 0 and N + 1 are never candidates.
        answers: held-out item ids, 1..N.
        seen: if given, every id of it is masked, the answer included: an answer that repeats the history ranks N,
            the worst rank. Sparing it would tell the model that the answer is in the history. 0 is padding.
        block: scores held at a time; memory is bounded by it, whatever B is.

    Raises:
        ValueError: an answer is no real item, or a score is NaN.
    """
    n_items = len(table) - 2
    if ((answers < 1) | (answers > n_items)).any():
        raise ValueError(f"answers must be item ids 1..{n_items}, got {int(answers.min())}..{int(answers.max())}")
    ranks = torch.empty_like(answers, dtype=torch.int64)
    for rows, scores in _score_blocks(states, table, seen, block):
        answer = answers[rows, None]
        answer_scores = scores.gather(1, answer).squeeze(1)
        ranks[rows] = rank(answer_scores, scores.scatter_(1, answer, -torch.inf))
    if seen is not None:
        ranks[(seen == answers[:, None]).any(1)] = n_items
    return ranks


@torch.no_grad()
def sampled_ranks(
    states: Float[Tensor, "B E"],
    table: Float[Tensor, "R E"],
    answers: Int[Tensor, "B"],
    candidates: Int[Tensor, "B K"],
    block: int = _BLOCK,
) -> Int[Tensor, "B"]:
    """Rank, 1..K + 1, of each answer among its user's own candidates (the answer not among them).

    Raises:
        ValueError: a score is NaN.
    """
    ids = torch.cat([answers[:, None], candidates], 1).long()
    size = max(1, block // (ids.shape[1] * table.shape[1]))
    ranks = torch.empty_like(answers, dtype=torch.int64)
    for start in range(0, len(ids), size):
        rows = slice(start, start + size)
        scores = torch.einsum("bke,be->bk", _wide(table[ids[rows]]), _wide(states[rows])).float()
        ranks[rows] = rank(scores[:, 0], scores[:, 1:])
    return ranks


@torch.no_grad()
def top_k(
    states: Float[Tensor, "B E"],
    table: Float[Tensor, "R E"],
    k: int,
    seen: Int[Tensor, "B M"] | None = None,
    block: int = _BLOCK,
) -> TopK:
    """The k best real items of each user, best first; equal scores in no particular order.

    Args:
        states: one vector per user.
        table: one vector per item; rows 0 and N + 1 are never recommended.
        k: how many, at least 1. Where fewer items are left, the rest is id 0 with score ``-inf``.
        seen: if given, ids that are not recommended, 0-padded.
        block: scores held at a time.

    Raises:
        ValueError: k is below 1, or a score is NaN.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    ids = torch.full((len(states), k), PADDING, dtype=torch.int64, device=states.device)
    best = torch.full((len(states), k), -torch.inf, device=states.device)
    width = min(k, len(table))
    for rows, scores in _score_blocks(states, table, seen, block):
        if torch.isnan(scores).any():
            raise ValueError("cannot recommend by NaN scores; check the model's weights and inputs")
        best[rows, :width], ids[rows, :width] = scores.topk(width, dim=1)
    return TopK(ids.masked_fill(best == -torch.inf, PADDING), best)


def _score_blocks(
    states: Float[Tensor, "B E"], table: Float[Tensor, "R E"], seen: Int[Tensor, "B M"] | None, block: int
) -> Iterator[tuple[slice, Float[Tensor, "b R"]]]:
    """Scores of a few users at a time; ``-inf`` for rows that are no items and for seen items."""
    columns, size = _wide(table).T, max(1, block // len(table))
    for start in range(0, len(states), size):
        rows = slice(start, start + size)
        scores = (_wide(states[rows]) @ columns).float()
        scores[:, [0, -1]] = -torch.inf
        if seen is not None:
            scores.scatter_(1, seen[rows].long(), -torch.inf)
        yield rows, scores


def _wide(x: Tensor) -> Tensor:
    return x if x.device.type == "mps" else x.double()  # Apple's GPUs have no float64
