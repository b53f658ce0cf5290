"""What finding an item is worth where several items have the same codes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sage_pl.evaluation.metrics import KS
from sage_pl.nn.decoders.search import occurs
from sage_pl.types import TopK


def expected_hits(
    found: TopK, answers: Int[Tensor, "B"], seen: Int[Tensor, "B M"] | None = None, ks: Sequence[int] = KS
) -> dict[str, Float[Tensor, ""]]:
    """Mean HR and NDCG where items that cannot be told apart come in random order, by the names ``item_hr@k``, ``item_ndcg@k``.

    With P items above the answer and G that score like it, itself among them, ``s = min(G, max(0, k - P))``:
    ``HR = s / G``, ``NDCG = 1/G sum_{j=1..s} 1 / log2(P + j + 1)``: the expectation over the orders of the G. A model that
    finds the string of codes has not found the item. Equal to HR and NDCG for G = 1; an answer that was not found, or is in
    ``seen``, counts 0.

    Reference: CollisionGenRec (ItemHit, ItemNDCG).
    """
    own = found.ids == answers[:, None]
    score = found.scores.masked_fill(~own, -torch.inf).amax(1, keepdim=True)
    others = found.scores if seen is None else found.scores.masked_fill(occurs(found.ids, seen) & ~own, -torch.inf)
    above, group = (others > score).sum(1), (others == score).sum(1).clamp(min=1)
    missed = score[:, 0] == -torch.inf
    if seen is not None:
        missed = missed | (seen == answers[:, None]).any(1)
    metrics: dict[str, Tensor] = {}
    for k in ks:
        place = torch.arange(k, device=answers.device)
        places = (place >= above[:, None]) & (place < (above + group)[:, None]) & ~missed[:, None]
        gain = (places / torch.log2(place + 2)).sum(1) / group
        metrics |= {f"item_hr@{k}": (places.sum(1) / group).mean(), f"item_ndcg@{k}": gain.mean()}
    return metrics
