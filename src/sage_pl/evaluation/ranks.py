"""Ranks of held-out answers among candidates, without sorting.

The house rule, everywhere: rank = 1 + candidates scoring strictly higher + half of the other candidates that tie,
rounded up. A model with equal scores for all items therefore ranks answers in the middle instead of at the top.

Scores are dot products computed in float64 and rounded to float32. Single precision kernels add in an order that
depends on the batch size and on the item's place in the table, so equal items would score unequally in the last digit.

Scores are computed in blocks of users by items, so memory beyond the inputs is bounded for any number of either. The
items' table is read by blocks of rows and by the answers' rows, so it need not be a tensor. Of a table in shards every process
scores its rows for the same users, and counts and lists are brought together.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sage_pl import processes
from sage_pl.errors import SettingError
from sage_pl.evaluation.shards import Shard
from sage_pl.types import PADDING, TopK, VectorTable

_BLOCK, _BLOCK_ACCELERATOR = 2_000_000, 32_000_000  # scores in memory; about 60 MB and 1 GB with the copies
_USERS = 128  # least users of a block, which share the conversion of an item's vector to float64

Counts = TypeVar("Counts", Tensor, npt.NDArray[np.integer[Any]])


@torch.no_grad()
def rank(answer_scores: Float[Tensor, "B"], scores: Float[Tensor, "B K"]) -> Int[Tensor, "B"]:
    """1-based rank of each answer among the other candidates.

    ``1 + #{scores > answer} + ceil(#{scores = answer} / 2)``; a candidate to exclude scores ``-inf``.

    Args:
        answer_scores: one score per user.
        scores: the other candidates' scores, the answer not among them.

    Raises:
        SettingError: a score is NaN.

    >>> rank(torch.tensor([2.0, 2.0]), torch.tensor([[3.0, 1.0, 0.0], [2.0, 2.0, 2.0]])).tolist()
    [2, 3]
    """
    return house_rule(*_counts(answer_scores, scores)).long()


def house_rule(higher: Counts, ties: Counts) -> Counts:
    """``1 + higher + ceil(ties / 2)`` of the numbers of other candidates that score higher, and the same."""
    return 1 + higher + (ties + 1) // 2


@torch.no_grad()
def full_ranks(
    states: Float[Tensor, "B *I E"],
    table: VectorTable,
    answers: Int[Tensor, "B"],
    seen: Int[Tensor, "B M"] | None = None,
    block: int | None = None,
) -> Int[Tensor, "B"]:
    """Rank of each answer among all real items 1..N.

    Args:
        states: one vector per user, or I of them, of which the one that scores an item highest counts.
        table: one vector per item [R, E]; rows 0 and N + 1 are never candidates.
        answers: held-out item ids, 1..N.
        seen: ids to mask, 0-padded. An answer among them is masked too and ranks N, the worst rank: sparing it would
            leak that the answer is in the history.
        block: scores in memory at a time, for any B and R. None: 2 million on a CPU, 32 million on an accelerator, which
            small blocks underuse.

    Raises:
        SettingError: an answer is no real item, or a score is NaN.
    """
    n_items = len(table) - 2
    if ((answers < 1) | (answers > n_items)).any():
        raise SettingError(f"answers must be item ids 1..{n_items}, got {int(answers.min())}..{int(answers.max())}")
    answer_scores = scores_of(states, table, answers[:, None], block).squeeze(1)
    higher, ties = torch.zeros_like(answers), torch.zeros_like(answers)
    excluded = answers[:, None] if seen is None else torch.cat([answers[:, None], seen.to(answers.dtype)], 1)
    for rows, _, scores in _score_blocks(states, table, excluded, block):
        above, equal = _counts(answer_scores[rows], scores)
        higher[rows] += above
        ties[rows] += equal
    if isinstance(table, Shard):
        higher, ties = processes.total(torch.stack([higher, ties]))
    ranks = house_rule(higher, ties).long()
    if seen is not None:
        ranks[(seen == answers[:, None]).any(1)] = n_items
    return ranks


@torch.no_grad()
def sampled_ranks(
    states: Float[Tensor, "B *I E"],
    table: VectorTable,
    answers: Int[Tensor, "B"],
    candidates: Int[Tensor, "B K"],
    block: int | None = None,
) -> Int[Tensor, "B"]:
    """Rank, 1..K + 1, of each answer among its user's candidates, which do not contain it.

    Raises:
        SettingError: a score is NaN.
    """
    scores = scores_of(states, table, torch.cat([answers[:, None], candidates], 1).long(), block)
    return rank(scores[:, 0], scores[:, 1:])


@torch.no_grad()
def top_k(
    states: Float[Tensor, "B *I E"],
    table: VectorTable,
    k: int,
    seen: Int[Tensor, "B M"] | None = None,
    block: int | None = None,
    allowed: Bool[Tensor, "R"] | None = None,
) -> TopK:
    """The k best real items of each user, best first; equal scores in no particular order.

    Args:
        states: one vector per user, or I of them, of which the one that scores an item highest counts.
        table: one vector per item [R, E]; rows 0 and N + 1 are never recommended.
        k: items per user, at least 1. Where fewer items remain, the rest is id 0 with score ``-inf``.
        seen: ids to exclude, 0-padded.
        block: scores in memory at a time, see :func:`full_ranks`.
        allowed: True for the rows that may be recommended; None for all items.

    Raises:
        SettingError: k is below 1, ``allowed`` has another number of rows, or a score is NaN.
    """
    if k < 1:
        raise SettingError(f"k must be at least 1, got {k}")
    if allowed is not None and len(allowed) != len(table):
        raise SettingError(f"allowed has {len(allowed)} rows, wanted {len(table)}, one for each row of the item table")
    ids = torch.full((len(states), k), PADDING, dtype=torch.int64, device=states.device)
    best = torch.full((len(states), k), -torch.inf, device=states.device)
    for rows, columns, scores in _score_blocks(states, table, seen, block):
        if torch.isnan(scores).any():
            raise SettingError("cannot recommend by NaN scores; check the model's weights and inputs")
        if allowed is not None:
            scores = scores.masked_fill(
                ~allowed[columns.start : columns.stop : columns.step].to(scores.device), -torch.inf
            )
        values, places = scores.topk(min(k, scores.shape[1]), dim=1)
        of_block = places * columns.step + columns.start
        best[rows], ids[rows] = _best_of([best[rows], values], [ids[rows], of_block], k)
    if isinstance(table, Shard):
        best, ids = _best_of(processes.each(best), processes.each(ids), k)
    return TopK(ids.masked_fill(best == -torch.inf, PADDING), best)


def _best_of(scores: list[Tensor], ids: list[Tensor], k: int) -> tuple[Float[Tensor, "B k"], Int[Tensor, "B k"]]:
    """The k largest scores of several lists, and their ids."""
    best, places = torch.cat(scores, 1).topk(k, dim=1)
    return best, torch.cat(ids, 1).gather(1, places)


def _counts(
    answer_scores: Float[Tensor, "B"], scores: Float[Tensor, "B K"]
) -> tuple[Int[Tensor, "B"], Int[Tensor, "B"]]:
    """Numbers of candidates that score higher than the answer, and the same."""
    if torch.isnan(scores).any() or torch.isnan(answer_scores).any():
        raise SettingError("cannot rank NaN scores; the model diverged: lower the learning rate or check its inputs")
    answer_scores = answer_scores[:, None]
    higher = (scores > answer_scores).sum(1, dtype=torch.int32)
    return higher, (scores == answer_scores).sum(1, dtype=torch.int32)


def scores_of(
    states: Float[Tensor, "B *I E"], table: VectorTable, ids: Int[Tensor, "B K"], block: int | None
) -> Float[Tensor, "B K"]:
    """Scores of each user's items ``ids``."""
    block = block or _block(states.device)
    size = max(1, block // (ids.shape[1] * table.shape[1] * (states.shape[1] if states.ndim == 3 else 1)))
    scores = torch.empty(ids.shape, dtype=torch.float32, device=states.device)
    for start in range(0, len(ids), size):
        rows = slice(start, start + size)
        products = torch.einsum("bke,b...e->b...k", _wide(table[ids[rows]]), _wide(states[rows]))
        scores[rows] = _best(products).float()
    return scores


def _score_blocks(
    states: Float[Tensor, "B *I E"], table: VectorTable, excluded: Int[Tensor, "B M"] | None, block: int | None
) -> Iterator[tuple[slice, range, Float[Tensor, "b r"]]]:
    """Blocks: rows of some users, ids of some real items, their scores; ``-inf`` for excluded items.

    The items are all, or of a table in shards those of this process.
    """
    block = block or _block(states.device)
    n_items = len(table) - 2
    table, ids = (table.rows, table.ids) if isinstance(table, Shard) else (table, range(len(table)))
    begin, end = bisect_left(ids, 1), bisect_left(ids, n_items + 1)
    width = max(1, min(end - begin, block // _USERS))
    size = max(1, block // (width * (states.shape[1] if states.ndim == 3 else 1)))
    for start in range(begin, end, width):
        stop = min(start + width, end)
        columns = _wide(table[start:stop]).T
        for first in range(0, len(states), size):
            rows = slice(first, first + size)
            scores = _best(_wide(states[rows]) @ columns).float()
            if excluded is not None:
                here = _places(excluded[rows].long(), ids) - start
                user, place = ((here >= 0) & (here < stop - start)).nonzero(as_tuple=True)
                scores[user, here[user, place]] = -torch.inf
            yield rows, ids[start:stop], scores


def _places(values: Int[Tensor, "B M"], ids: range) -> Int[Tensor, "B M"]:
    """Where values are in ``ids``; -1 for those between two of them."""
    places = values - ids.start
    return places if ids.step == 1 else torch.where(places % ids.step == 0, places // ids.step, -1)


def _block(device: torch.device) -> int:
    return _BLOCK if device.type == "cpu" else _BLOCK_ACCELERATOR


def _best(scores: Float[Tensor, "B *I K"]) -> Float[Tensor, "B K"]:
    """Each item's largest score over the states."""
    return scores.amax(1) if scores.ndim == 3 else scores


def _wide(x: Tensor) -> Tensor:
    return x if x.device.type == "mps" else x.double()  # Apple's GPUs have no float64


def occurs(ids: Int[Tensor, "A C"], seen: Int[Tensor, "B M"]) -> Bool[Tensor, "B C"]:
    """Whether each id is one of its user's ``seen``; A is B or 1."""
    history = seen.to(ids.dtype).sort(dim=1).values
    ids = ids.expand(len(history), -1).contiguous()
    place = torch.searchsorted(history, ids).clamp(max=history.shape[1] - 1)
    return history.gather(1, place) == ids
