"""HR and NDCG where several items have the same codes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sage_pl.evaluation.metrics import KS
from sage_pl.evaluation.ranks import occurs
from sage_pl.types import TopK


def expected_hits(
    results: TopK, answers: Int[Tensor, "B"], seen: Int[Tensor, "B M"] | None = None, ks: Sequence[int] = KS
) -> dict[str, Float[Tensor, ""]]:
    """Mean HR and NDCG where items of equal score come in random order, by the names ``item_hr@k``, ``item_ndcg@k``.

    With P items above the answer and G that score like it, itself among them, ``s = min(G, max(0, k - P))``:
    ``HR = s / G``, ``NDCG = 1/G sum_{j=1..s} 1 / log2(P + j + 1)``: the expectation over the orders of the G. Equal to
    HR and NDCG for G = 1; an answer that is not among ``results``, or is in ``seen``, counts 0.

    Reference: CollisionGenRec (ItemHit, ItemNDCG).
    """
    ids, scores = results
    is_answer = ids == answers[:, None]
    # items above the answer and those that score like it
    score = scores.masked_fill(~is_answer, -torch.inf).amax(1, keepdim=True)
    if seen is not None:
        scores = scores.masked_fill(occurs(ids, seen) & ~is_answer, -torch.inf)
    above, group = (scores > score).sum(1), (scores == score).sum(1).clamp(min=1)
    missing = score[:, 0] == -torch.inf
    if seen is not None:
        missing = missing | (seen == answers[:, None]).any(1)
    # places of the group among the first k
    metrics: dict[str, Tensor] = {}
    for k in ks:
        place = torch.arange(k, device=answers.device)
        places = (place >= above[:, None]) & (place < (above + group)[:, None]) & ~missing[:, None]
        gain = (places / torch.log2(place + 2)).sum(1) / group
        metrics |= {f"item_hr@{k}": (places.sum(1) / group).mean(), f"item_ndcg@{k}": gain.mean()}
    return metrics
