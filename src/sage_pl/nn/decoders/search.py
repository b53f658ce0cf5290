"""Beam search over the tree of codes, the best of its items, and ranks among them."""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

from sage_pl.errors import SettingError
from sage_pl.evaluation.ranks import occurs, rank
from sage_pl.nn.decoders.item_decoder import ItemDecoder
from sage_pl.types import PADDING, Memory, TopK


@torch.no_grad()
def beam_search(decoder: ItemDecoder, memory: Memory, width: int) -> TopK:
    """The items that ``width`` beams reach, with their log-probabilities, in no order.

    A beam is a node of the tree, so it is always the prefix of an item. Every level but the last keeps the ``width`` likeliest
    nodes; all items below the last are returned. Ids are distinct; id 0 with score ``-inf`` is padding.

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
        # every child of every beam
        logits = decoder.logits(state, level)
        below, real = tree.below(level, nodes)
        codes = tree.code(level)[below]
        steps = logits.gather(2, codes) - decoder.log_norm(level, nodes, logits)[..., None]
        scores = (scores[..., None] + steps).masked_fill(~real, -torch.inf).flatten(1)
        parents = torch.arange(below.shape[1], device=nodes.device).repeat_interleave(below.shape[2]).expand_as(scores)
        nodes, codes = below.flatten(1), codes.flatten(1)
        # the likeliest of them
        if level + 1 < levels:
            scores, top = scores.topk(min(width, scores.shape[1]))
            nodes, tokens = nodes.gather(1, top), decoder.codes.table(level)[codes.gather(1, top)]
            state = decoder.network.advance(state, tokens, parents.gather(1, top))
    # the items below the last nodes
    items, real = tree.below(levels, nodes)
    scores = (scores - decoder.log_shares(scores)[nodes])[..., None].masked_fill(~real, -torch.inf).flatten(1)
    return TopK(tree.items[items].flatten(1).masked_fill(scores == -torch.inf, PADDING), scores)


def best(results: TopK, k: int, seen: Int[Tensor, "B M"] | None = None) -> TopK:
    """The k likeliest items without those of ``seen``, best first; id 0 with ``-inf`` where there are fewer.

    Raises:
        SettingError: k is below 1, or a score is NaN.
    """
    if k < 1:
        raise SettingError(f"k must be at least 1, got {k}")
    ids, scores = results
    if scores.isnan().any():
        raise SettingError("cannot recommend by NaN scores; check the model's weights and inputs")
    if seen is not None:
        scores = scores.masked_fill(occurs(ids, seen), -torch.inf)
    missing = max(k - scores.shape[1], 0)
    scores = torch.nn.functional.pad(scores, (0, missing), value=-torch.inf)
    ids = torch.nn.functional.pad(ids.expand(len(scores), -1), (0, missing))
    scores, top = scores.topk(k)
    return TopK(ids.gather(1, top).masked_fill(scores == -torch.inf, PADDING), scores)


def answer_ranks(
    results: TopK, answers: Int[Tensor, "B"], n_items: int, seen: Int[Tensor, "B M"] | None = None
) -> Int[Tensor, "B"]:
    """Rank of each answer among ``results``; ``n_items``, the worst, for one that is not among them or is in ``seen``.

    Raises:
        SettingError: a score is NaN.
    """
    ids, scores = results
    is_answer = ids == answers[:, None]
    no_rival = is_answer if seen is None else is_answer | occurs(ids, seen)
    answer_scores = scores.masked_fill(~is_answer, -torch.inf).amax(1)
    ranks = rank(answer_scores, scores.masked_fill(no_rival, -torch.inf))
    missing = answer_scores == -torch.inf
    if seen is not None:
        missing = missing | (seen == answers[:, None]).any(1)
    return ranks.masked_fill(missing, n_items)
