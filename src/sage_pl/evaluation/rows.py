"""Ranks and lists from whole rows of scores, for models whose scores are no inner products.

A block is a run of users with the scores of every item, so memory is bounded for any number of users. The rules are those of
:mod:`sage_pl.evaluation.ranks`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sage_pl.errors import SettingError
from sage_pl.evaluation.ranks import _best, _wide, rank
from sage_pl.types import PADDING, TopK, VectorTable

Blocks = Iterable[tuple[slice, Float[Tensor, "b R"]]]
_SCORES = 2_000_000  # of a block
_USERS = 32  # least users of a block, which share the reading of the table
_ITEMS = 16_384  # rows of the table in float64 at a time


@torch.no_grad()
def products(states: Float[Tensor, "B *I E"], table: VectorTable) -> Iterator[tuple[slice, Float[Tensor, "b R"]]]:
    """Blocks of inner products, the best of I states; computed in float64 and rounded to float32."""
    size = max(_USERS, _SCORES // len(table))
    for first in range(0, len(states), size):
        rows = slice(first, first + size)
        wide = _wide(states[rows])
        scores = torch.empty(len(wide), len(table), device=states.device)
        for start in range(0, len(table), _ITEMS):
            columns = slice(start, start + _ITEMS)
            scores[:, columns] = _best(wide @ _wide(table[start : start + _ITEMS]).T)
        yield rows, scores


@torch.no_grad()
def row_ranks(
    blocks: Blocks,
    answers: Int[Tensor, "B"],
    seen: Int[Tensor, "B M"] | None = None,
    candidates: Int[Tensor, "B K"] | None = None,
) -> dict[str, Int[Tensor, "B"]]:
    """As :func:`sage_pl.evaluation.ranks.full_ranks` (``full``) and ``sampled_ranks`` (``sampled<K>``)."""
    ranks: dict[str, list[Tensor]] = {}
    for rows, scores in blocks:
        answer = answers[rows, None].long()
        own = scores.gather(1, answer).squeeze(1)
        if candidates is not None:
            sampled = rank(own, scores.gather(1, candidates[rows].long()))
            ranks.setdefault(f"sampled{candidates.shape[1]}", []).append(sampled)
        n_items = scores.shape[1] - 2
        _exclude(scores, None if seen is None else seen[rows])
        full = rank(own, scores.scatter(1, answer, -torch.inf))
        if seen is not None:
            full[(seen[rows] == answer).any(1)] = n_items
        ranks.setdefault("full", []).append(full)
    return {name: torch.cat(parts) for name, parts in ranks.items()}


@torch.no_grad()
def row_top_k(
    blocks: Blocks, k: int, seen: Int[Tensor, "B M"] | None = None, allowed: Bool[Tensor, "R"] | None = None
) -> TopK:
    """As :func:`sage_pl.evaluation.ranks.top_k`."""
    if k < 1:
        raise SettingError(f"k must be at least 1, got {k}")
    ids, values = [], []
    for rows, scores in blocks:
        if torch.isnan(scores).any():
            raise SettingError("cannot recommend by NaN scores; check the model's weights and inputs")
        _exclude(scores, None if seen is None else seen[rows])
        if allowed is not None:
            scores.masked_fill_(~allowed.to(scores.device), -torch.inf)
        best = scores.topk(min(k, scores.shape[1]), dim=1)
        missing = k - best.values.shape[1]
        values.append(torch.nn.functional.pad(best.values, (0, missing), value=-torch.inf))
        ids.append(torch.nn.functional.pad(best.indices, (0, missing)))
    scores = torch.cat(values)
    return TopK(torch.cat(ids).masked_fill(scores == -torch.inf, PADDING), scores)


def _exclude(scores: Float[Tensor, "b R"], seen: Int[Tensor, "b M"] | None) -> None:
    scores[:, [0, -1]] = -torch.inf
    if seen is not None:
        scores.scatter_(1, seen.long(), -torch.inf)
