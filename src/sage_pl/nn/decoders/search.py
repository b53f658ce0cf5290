"""Items by log-probability: those that beams over the tree of codes reach, or all of them, and ranks among them."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from sage_pl.errors import SettingError
from sage_pl.evaluation.ranks import rank
from sage_pl.nn.decoders.item_decoder import ItemDecoder
from sage_pl.types import PADDING, Memory, TopK


@torch.no_grad()
def beam_search(decoder: ItemDecoder, memory: Memory, width: int) -> TopK:
    """The items that ``width`` beams reach, with their log-probabilities, in no order.

    A beam is a node of the tree, so what is followed is always the prefix of an item. Of every level but the last the
    ``width`` likeliest nodes are kept; all items below what they lead to are returned. Ids are distinct items; id 0 with
    score ``-inf`` fills up.

    Args:
        decoder: the model.
        memory: of B users.
        width: beams; as many as there are prefixes of T - 1 codes reach every item.
    """
    tree, levels = decoder.tree, decoder.codes.levels
    state = decoder.network.begin(memory)
    nodes = torch.zeros(len(memory.vectors), 1, dtype=torch.int64, device=memory.vectors.device)
    scores = memory.vectors.new_zeros(nodes.shape)
    for level in range(levels):
        logits = decoder.logits(state, level)
        below, real = tree.below(level, nodes)
        codes = tree.code(level)[below]
        steps = logits.gather(2, codes) - decoder.log_norm(level, nodes, logits)[..., None]
        scores = (scores[..., None] + steps).masked_fill(~real, -torch.inf).flatten(1)
        parents = torch.arange(below.shape[1], device=nodes.device).repeat_interleave(below.shape[2]).expand_as(scores)
        nodes, codes = below.flatten(1), codes.flatten(1)
        if level + 1 < levels:
            scores, kept = scores.topk(min(width, scores.shape[1]))
            nodes, tokens = nodes.gather(1, kept), decoder.codes.table(level)[codes.gather(1, kept)]
            state = decoder.network.advance(state, tokens, parents.gather(1, kept))
    items, real = tree.below(levels, nodes)
    scores = (scores - decoder.log_shares(scores)[nodes])[..., None].masked_fill(~real, -torch.inf).flatten(1)
    return TopK(tree.items[items].flatten(1).masked_fill(scores == -torch.inf, PADDING), scores)


def best(found: TopK, k: int, seen: Int[Tensor, "B M"] | None = None) -> TopK:
    """The k likeliest of some items, best first, but for those of ``seen``; id 0 with ``-inf`` where there are fewer.

    Raises:
        SettingError: k is below 1, or a score is NaN.
    """
    if k < 1:
        raise SettingError(f"k must be at least 1, got {k}")
    if found.scores.isnan().any():
        raise SettingError("cannot recommend by NaN scores; check the model's weights and inputs")
    scores = found.scores if seen is None else found.scores.masked_fill(occurs(found.ids, seen), -torch.inf)
    missing = max(k - scores.shape[1], 0)
    scores = torch.nn.functional.pad(scores, (0, missing), value=-torch.inf)
    ids = torch.nn.functional.pad(found.ids.expand(len(scores), -1), (0, missing))
    scores, kept = scores.topk(k)
    return TopK(ids.gather(1, kept).masked_fill(scores == -torch.inf, PADDING), scores)


def answer_ranks(
    found: TopK, answers: Int[Tensor, "B"], n_items: int, seen: Int[Tensor, "B M"] | None = None
) -> Int[Tensor, "B"]:
    """Rank of each answer among the items found; ``n_items``, the worst, for one that is not among them or is in ``seen``.

    Raises:
        SettingError: a score is NaN.
    """
    own = found.ids == answers[:, None]
    others = own if seen is None else own | occurs(found.ids, seen)
    answer_scores = found.scores.masked_fill(~own, -torch.inf).amax(1)
    ranks = rank(answer_scores, found.scores.masked_fill(others, -torch.inf))
    missed = answer_scores == -torch.inf
    if seen is not None:
        missed = missed | (seen == answers[:, None]).any(1)
    return ranks.masked_fill(missed, n_items)


def occurs(ids: Int[Tensor, "A C"], seen: Int[Tensor, "B M"]) -> Bool[Tensor, "B C"]:
    """Whether each id is one of its user's ``seen``; A is B or 1."""
    known = seen.to(ids.dtype).sort(dim=1).values
    wanted = ids.expand(len(known), -1).contiguous()
    place = torch.searchsorted(known, wanted).clamp(max=known.shape[1] - 1)
    return known.gather(1, place) == wanted
