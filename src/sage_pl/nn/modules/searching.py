"""From a history to the items whose codes are likeliest, in training and in serving."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sage_pl.nn.decoders.item_decoder import ItemDecoder
from sage_pl.nn.decoders.search import beam_search, best
from sage_pl.nn.modules.histories import HistoryReader
from sage_pl.types import Memory, TopK, real

_PORTION = 1_000  # items scored one by one at a time


class ItemSearch(HistoryReader):
    """Ranks items by the log-probability of their codes; see :class:`sage_pl.nn.modules.generative.GenerativeRecommender`."""

    decoder: ItemDecoder
    device: torch.device

    @torch.no_grad()
    def memory(self, items: Int[Tensor, "B L"], users: Int[Tensor, "B"] | None = None) -> Memory:
        """The states from which items are decoded after each history."""
        whole = self.decoder.network.whole
        hidden, mask = self.encode(items, users, last_only=not whole)
        rows = torch.arange(len(hidden), device=hidden.device)
        return memory(
            hidden.to(self.decoder.codes.weight.dtype), mask, rows, torch.full_like(rows, hidden.shape[1] - 1), whole
        )

    def states(self, items: Int[Tensor, "B L"], users: Int[Tensor, "B"] | None = None) -> Float[Tensor, "B E"]:
        """The state at the end of each history."""
        return self.memory(items, users).vectors[:, -1]

    @torch.no_grad()
    def item_scores(
        self, items: Int[Tensor, "B L"], users: Int[Tensor, "B"] | None = None
    ) -> Iterator[tuple[slice, Float[Tensor, "b R"]]]:
        with self._full_precision():
            yield slice(None), F.pad(self.decoder.all_log_probs(self.memory(items, users)), (1, 1))

    @torch.no_grad()
    def best_items(
        self,
        items: Int[Tensor, "B L"],
        k: int,
        seen: Int[Tensor, "B M"] | None,
        users: Int[Tensor, "B"] | None,
        allowed: Bool[Tensor, "R"] | None,
    ) -> TopK:
        """The k likeliest items that beams find after each history, with their log-probabilities.

        Where ``allowed`` is given, each of these items is scored, and the list is exact.
        """
        with self._full_precision():
            if allowed is not None:
                return best(self._scores_of(self.memory(items, users), allowed), k, seen)
            return best(self._search(self.memory(items, users), k, seen), k, seen)

    def _full_precision(self) -> torch.autocast:
        """No autocast: the sums of logarithms of different items differ by less than the precision of 8 bits."""
        return torch.autocast(self.device.type, enabled=False)

    def _scores_of(self, memory: Memory, allowed: Bool[Tensor, "R"]) -> TopK:
        """The allowed items with their log-probabilities out of all items."""
        ids = allowed.to(self.device)[1 : self.decoder.n_items + 1].nonzero()[:, 0] + 1
        if self.decoder.exhaustive:
            return TopK(ids[None], self.decoder.all_log_probs(memory)[:, ids - 1])
        portions = [
            self.decoder.log_probs(memory, part.expand(len(memory.vectors), -1)) for part in ids.split(_PORTION)
        ]
        return TopK(ids[None], torch.cat(portions, 1) if portions else memory.vectors.new_zeros(len(memory.vectors), 0))

    def _search(self, memory: Memory, k: int, seen: Int[Tensor, "B M"] | None = None) -> TopK:
        """Items that beams reach, with more beams where ``seen`` items are left out afterwards (:meth:`_beams`)."""
        if seen is None:
            return beam_search(self.decoder, memory, self.decoder.width(k))
        # one search for the users with the same number of beams
        beams = self._beams(k, seen)
        groups = [(beams == width, int(width)) for width in beams.unique()]
        results = [beam_search(self.decoder, Memory(*(x[rows] for x in memory)), width) for rows, width in groups]
        # their lists, as wide as the widest, back in the order of the users
        shape = len(seen), max(result.ids.shape[1] for result in results)
        together = TopK(seen.new_zeros(shape), results[0].scores.new_full(shape, -torch.inf))
        for (rows, _), result in zip(groups, results, strict=True):
            for whole, values in zip(together, result, strict=True):
                whole[rows, : values.shape[1]] = values
        return together

    def _beams(self, k: int, seen: Int[Tensor, "B M"]) -> Int[Tensor, "B"]:
        """Beams of each user's search for k items that are not in ``seen``: those of any search, and the number of the user's
        seen items rounded up to a power of two. A user's list does not depend on the rest of the batch."""
        return self.decoder.width(k) + 2 ** real(seen).sum(1).clamp(min=1).log2().ceil().long()


def memory(
    hidden: Float[Tensor, "B K E"],
    mask: Bool[Tensor, "B L"],
    rows: Int[Tensor, "M"],
    columns: Int[Tensor, "M"],
    whole: bool,
) -> Memory:
    """The states from which items are decoded: those at the positions, or with ``whole`` all states of their rows.

    Args:
        hidden: states; K = L, or a multiple of it where an item is read as several tokens.
        mask: True on real items.
        rows, columns: the positions.
        whole: see :class:`sage_pl.types.DecoderNetwork`.
    """
    if whole:
        return Memory(hidden[rows], mask.repeat_interleave(hidden.shape[1] // mask.shape[1], 1)[rows])
    states = hidden[rows, columns][:, None]
    return Memory(states, torch.ones_like(states[..., 0], dtype=torch.bool))
