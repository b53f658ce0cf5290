"""Log-probabilities of items as strings of codes, given the states of a sequence."""

from __future__ import annotations

from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sage_pl.errors import SettingError
from sage_pl.nn.decoders.rows import group_logsumexp
from sage_pl.nn.decoders.tree import CodeTree
from sage_pl.nn.item_encoders.code_embedding import CodeEmbedding
from sage_pl.ranges import Count, Natural
from sage_pl.types import DecoderNetwork, Memory


class ItemDecoder(nn.Module):
    """``log p(i | h) = sum_t log softmax(<o_t, E_t>)[c_{i,t}] - log G_i``, where ``o_t`` is the network's output for h
    and ``c_{i,1} .. c_{i,t-1}``, and G_i the number of items with all the codes of i (1 unless collisions are kept).

    Args:
        tokens, n_items: see :class:`sage_pl.nn.item_encoders.code_embedding.CodeEmbedding`.
        network: the network.
        normalise: the classes of the softmax after a prefix. ``children``: the codes that lead on to an item; the items'
            probabilities sum to 1. ``codes``: the whole vocabulary, the usual practice; strings that are no item get mass too.
            Training and ranking use the same.
        beams: beams of a search, or five times the number of its items, if that is more.
        exhaustive_up_to: largest catalogue that is ranked by scoring every item; larger ones are ranked by beams.

    Raises:
        SettingError: ``normalise`` is unknown, or items have more codes than the network reads.
    """

    def __init__(
        self,
        tokens: str,
        n_items: Count,
        network: DecoderNetwork,
        normalise: Literal["children", "codes"] = "children",
        beams: Count = 50,
        exhaustive_up_to: Natural = 20_000,
    ) -> None:
        super().__init__()
        if normalise not in ("children", "codes"):
            raise SettingError(f"decoder.normalise is {normalise!r}, wanted 'children' or 'codes'")
        self.n_items = n_items
        self.network = network
        self.normalise = normalise
        self.beams = beams
        self.exhaustive = n_items <= exhaustive_up_to
        self.codes = CodeEmbedding(tokens, n_items, network.dim)
        if self.codes.levels > network.levels:
            raise SettingError(
                f"items have {self.codes.levels} codes, the decoder's network reads at most {network.levels}; use "
                f"+decoder.network.levels={self.codes.levels}, or fewer codes: steps.tokens.quantiser.levels"
            )
        self.tree = CodeTree(self.codes.codes, self.codes.sizes)

    def width(self, k: int) -> int:
        """Beams of a search for k items."""
        return max(self.beams, 5 * k)

    def logits(self, state: Any, level: int) -> Float[Tensor, "B P V"]:
        """Logits of every code of a level after each prefix."""
        table = self.codes.table(level)
        return (self.network.outputs(state) @ table.T).to(table.dtype)  # the weights' type, also under autocast

    def log_norm(
        self,
        level: int,
        nodes: Int[Tensor, "A P"],
        logits: Float[Tensor, "B P V"],
        among: Int[Tensor, "C"] | None = None,
    ) -> Float[Tensor, "B P"]:
        """The normaliser of the logits after each prefix (a node of depth ``level``): the log-probability is logit - this."""
        if self.normalise == "codes":
            return logits.logsumexp(-1)
        # the children of each prefix that lead on to an item (of ``among``)
        children, real = self.tree.below(level, nodes)
        if among is not None:
            real = real & self.tree.above(among, level + 1)[children]
        # their logits alone
        reachable = logits.gather(2, self.tree.code(level)[children].expand(len(logits), -1, -1))
        return reachable.masked_fill(~real, -torch.inf).logsumexp(-1)

    def log_shares(self, like: Tensor) -> Float[Tensor, "n"]:
        """``log G`` of each node of depth T."""
        return self.tree.count(self.codes.levels).to(like.dtype).log()

    def log_probs(
        self, memory: Memory, ids: Int[Tensor, "B K"], among: Int[Tensor, "C"] | None = None
    ) -> Float[Tensor, "B K"]:
        """Log-probability of K items for each memory, out of the items ``among`` (all where None).

        A softmax over children leaves out those that lead to none of ``among``; that over a vocabulary ignores it.
        """
        path, codes = self.tree.path[ids], self.codes.codes[ids]
        # all items share the root as prefix; from the second level on each has its own
        nodes = torch.zeros_like(ids[:1, :1])
        prefixes = torch.arange(ids.shape[1], device=ids.device)[None]
        state, total = self.network.begin(memory), torch.zeros_like(memory.vectors[:1, 0, :1])
        for level in range(self.codes.levels):
            # read the code of the level before
            if level:
                tokens = self.codes.table(level - 1)[codes[..., level - 1]]
                state = self.network.advance(state, tokens, prefixes if level > 1 else torch.zeros_like(prefixes))
                nodes = path[..., level - 1]
            # log-probability of the code of this level
            logits = self.logits(state, level)
            logit = logits.expand(-1, ids.shape[1], -1).gather(2, codes[..., level, None])[..., 0]
            total = total + logit - self.log_norm(level, nodes, logits, among)
        return total - self.log_shares(total)[path[..., -2]]

    @torch.no_grad()
    def all_log_probs(self, memory: Memory, floats: int = 50_000_000) -> Float[Tensor, "B N"]:
        """Log-probability of all items 1..N; every prefix is read once for all items below it.

        Args:
            memory: of B users.
            floats: numbers held at a time beside the result, about; limits the users of one portion.
        """
        prefixes = max(len(self.tree.code(level)) for level in range(self.codes.levels))
        wide = self.network.dim + max(self.codes.sizes) if self.normalise == "codes" else 0
        size = max(1, floats // (prefixes * (self.network.per_prefix + wide + 8)))
        portions = zip(memory.vectors.split(size), memory.mask.split(size), strict=True)
        return torch.cat([self._all_log_probs(Memory(*portion)) for portion in portions])

    def _all_log_probs(self, memory: Memory) -> Float[Tensor, "B N"]:
        tree, state = self.tree, self.network.begin(memory)
        total = memory.vectors.new_zeros(len(memory.vectors), 1)
        for level in range(self.codes.levels):
            # log-probability of each node's code after its parent
            parent, tokens = tree.parent(level), self.codes.table(level)[tree.code(level)]
            if self.normalise == "codes":
                logits = self.logits(state, level)
                norm = logits.logsumexp(-1)
                logits = logits[:, parent, tree.code(level)]
            else:
                logits = self.network.products(state, parent, tokens)
                norm = group_logsumexp(logits, parent, total.shape[1])
            total = (total - norm)[:, parent] + logits
            # read it
            if level + 1 < self.codes.levels:
                state = self.network.advance(state, tokens[None], parent[None])
        # from the nodes of the last level to items, in the order of their ids
        total = (total - self.log_shares(total))[:, tree.parent(self.codes.levels)]
        return torch.empty_like(total).index_copy_(1, tree.items - 1, total)
