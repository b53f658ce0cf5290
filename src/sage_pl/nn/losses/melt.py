"""MELT: from what is known well to what is known little, for users and for items."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sage_pl.errors import SettingError
from sage_pl.nn.item_encoders.encoded import EncodedItems
from sage_pl.nn.item_encoders.id import IdEncoder
from sage_pl.nn.losses.base import LossTerm
from sage_pl.nn.losses.item_contexts import ItemContexts
from sage_pl.nn.sequence_encoders.melt import EnhancedUsers, branch_map
from sage_pl.nn.sequence_encoders.single import SingleView
from sage_pl.ranges import Count, Fraction, Length, Natural, Pair, Weight, Width
from sage_pl.types import LossContext, SeqBatch, real

_BLOCK = 2048  # contexts read at a time before an epoch


class UserBranch(LossTerm):
    """``mean_u w_u (W_U f(last R items) - f(S_u))²`` over users of long histories S, R uniform in 1 .. T, T = short - 1.

    ``w_u = |sin( pi/2 epoch/E + pi/2 (n_u - T - 1) / (L - T - 1) )|``, n_u the length of the history, L the longest: a
    curriculum from the longest histories to those that are barely long. f is the last state of a history; the gradient reaches
    both of its values and W_U, the map of :class:`sage_pl.nn.sequence_encoders.melt.EnhancedUsers`.

    Args:
        weight: lambda_u in the paper.
        short: as in the sequence encoder.
        max_len: L.
        epochs: E.

    Raises:
        SettingError: in the first step, if the sequence encoder has no W_U.

    Reference: MELT (Kim et al. 2023), section 4.1; settings of its code. Differs: the long histories are those of the step's
    batch, whose states the step has already (there: a batch of their own, of the same size over an epoch).
    """

    extent = "users"

    def __init__(self, weight: Weight, short: Pair, max_len: Length = 50, epochs: Count = 200) -> None:
        super().__init__(weight)
        self.short = short
        self.max_len = max_len
        self.epochs = epochs

    def draw(self, batch: SeqBatch, epoch: int) -> Int[Tensor, "M K"]:
        """For each user of a long history its row, the epoch, its length, and its last R items."""
        rows = batch["state_rows"]
        items, masked = batch["items"][rows], batch["masked"][rows]
        if masked.any():  # the mask token behind the history
            items = items[:, :-1]
        lengths = real(items).sum(1)
        (users,) = torch.nonzero(lengths >= self.short, as_tuple=True)
        recent = torch.randint(1, self.short, (len(users), 1))
        back = torch.arange(items.shape[1], 0, -1)
        few = torch.where(back <= recent, items[users], 0)[:, -(self.short - 1) :]
        return torch.cat([users[:, None], torch.full((len(users), 1), epoch), lengths[users, None], few], 1)

    def item_ids(self, batch: SeqBatch) -> list[Int[Tensor, "..."]]:
        return [batch["draws"][self.name][:, 3:]]

    def forward(self, step: LossContext) -> Float[Tensor, ""]:
        enhance, states = _enhanced(step).enhance, step.user_states()
        users, epoch, lengths, few = step.batch["draws"][self.name].tensor_split([1, 2, 3], 1)
        if not len(users):
            return states.new_zeros(())
        beyond = (lengths - self.short) / max(self.max_len - self.short, 1)
        weights = (math.pi / 2 * (epoch / self.epochs + beyond)).sin().abs()
        return (weights * (enhance(step.last_states(few)) - states[users[:, 0]]).square()).mean()


class ItemBranch(LossTerm):
    """``mean_i w_i (W_I z_i - e_i)²`` over head items i, ``z_i = mean_c ( f(c) + W_U f(c) )`` over m of an item's contexts c.

    m is uniform in 1 .. min(number of contexts, T); contexts are those of :class:`ItemContexts`, f and W_U those of
    :class:`UserBranch`. ``w_i = |sin( pi/2 epoch/E + pi/100 (min(n_i, T + 50) - T - 1) )|``, n_i the item's frequency and T the
    largest of a tail item. Before every epoch each tail item that training has is set to ``e_i <- W_I mean_c f(c)`` over all of
    its contexts, which the next epoch's users read.

    Args:
        weight: lambda_i in the paper.
        sequences: path of the ``sequences`` artifact.
        dim: width of states and items.
        max_len: items of a context.
        tail: T is this quantile of the frequencies.
        count: head items of a step.
        epochs: E.
        after: epochs before the first in which tail items are set; 0, the published form, sets them by an untrained map.
        zero_start: W_I starts at zero; False: Xavier's start, as published, whose images of states are far longer than items'
            vectors for many epochs.

    Raises:
        SettingError: the sequence encoder has no W_U, or items are no rows of one table.

    Reference: MELT (Kim et al. 2023), section 4.2; settings of its code. Differs: ``count`` items a step, drawn uniformly
    (there: as many as cover the head once an epoch).
    """

    extent = "users"
    reads = frozenset({"id"})

    def __init__(
        self,
        weight: Weight,
        sequences: str,
        dim: Width = 64,
        max_len: Length = 50,
        tail: Fraction = 0.78,
        count: Count = 32,
        epochs: Count = 200,
        after: Natural = 1,
        zero_start: bool = True,
    ) -> None:
        super().__init__(weight)
        self.count = count
        self.epochs = epochs
        self.after = after
        self.contexts = ItemContexts(sequences, max_len)
        seen = self.contexts.frequency[self.contexts.frequency > 0]
        self.threshold = int(seen.double().quantile(tail)) if len(seen) else 0
        self.head = torch.nonzero(self.contexts.frequency > self.threshold)[:, 0]
        self.tail = torch.nonzero((self.contexts.frequency > 0) & (self.contexts.frequency <= self.threshold))[:, 0]
        self.map = branch_map(dim, zero_start)

    def draw(self, batch: SeqBatch, epoch: int) -> Int[Tensor, "C K"]:
        """For each context the place of its item among those of the step, the item, its frequency, the epoch, and its items."""
        items = self.head[torch.randperm(len(self.head))[: self.count]]
        drawn = [self._some(int(item)) for item in items]
        places = torch.repeat_interleave(torch.tensor([len(part) for part in drawn], dtype=torch.long))
        sequences = self.contexts.sequences(torch.cat([*drawn, items[:0]]))
        item = items[places]
        columns = [places, item, self.contexts.frequency[item], torch.full_like(item, epoch)]
        return torch.cat([torch.stack(columns, 1), sequences], 1)

    def _some(self, item: int) -> Int[Tensor, "m"]:
        contexts = self.contexts.of(item)
        most = max(min(len(contexts), self.threshold), 1)
        return contexts[torch.randperm(len(contexts))[: int(torch.randint(1, most + 1, ()))]]

    def item_ids(self, batch: SeqBatch) -> list[Int[Tensor, "..."]]:
        drawn = batch["draws"][self.name]
        return [drawn[:, 1], drawn[:, 4:]]

    def forward(self, step: LossContext) -> Float[Tensor, ""]:
        enhance = _enhanced(step).enhance
        places, item, frequency, epoch, sequences = step.batch["draws"][self.name].tensor_split([1, 2, 3, 4], 1)
        if not len(item):
            return enhance.weight.new_zeros(())
        # mean over an item's contexts; an item stands in as many rows, each of which counts by its share
        states = step.last_states(sequences)
        states = states + enhance(states)
        times = states.new_zeros(self.count, 1).index_add(0, places[:, 0], torch.ones_like(states[:, :1]))
        means = states.new_zeros(self.count, states.shape[1]).index_add(0, places[:, 0], states) / times.clamp(min=1)
        errors = (self.map(means)[places[:, 0]] - step.items.inputs(item[:, 0])["id"]).square().mean(1, keepdim=True)
        beyond = frequency.clamp(max=self.threshold + 50) - self.threshold - 1
        weights = (math.pi / 2 * epoch / self.epochs + math.pi / 100 * beyond).sin().abs()
        return (weights * errors / times[places[:, 0]]).sum() / (times > 0).sum()

    @torch.no_grad()
    def begin_epoch(self, model: Any) -> None:
        """Set the vectors of tail items, from states without dropout and without W_U.

        Args:
            model: the :class:`sage_pl.nn.modules.base.RecommenderModule` that is trained.
        """
        encoder, items = model.sequence_encoder, model.item_encoder
        if not isinstance(encoder, EnhancedUsers) or not isinstance(items, IdEncoder):
            raise _unfit(encoder, items)
        if model.current_epoch < self.after:
            return
        table = items.table.weight
        sums = torch.zeros_like(table)
        item = self.tail.repeat_interleave(self.contexts.number[self.tail])
        contexts = torch.cat([*(self.contexts.of(int(one)) for one in self.tail), self.tail[:0]])
        encoder.eval()
        for part, of in zip(contexts.split(_BLOCK), item.split(_BLOCK), strict=True):
            ids = model.targets.inference(self.contexts.sequences(part).to(table.device))
            batch: SeqBatch = {"items": ids, "masked": ids == items.n_items + 1}
            views = EncodedItems.of(items, [ids], ids.device).inputs(ids)
            states = SingleView.forward(encoder, views, real(ids), batch, last_only=True)[:, -1]
            sums.index_add_(0, of.to(table.device), states.to(sums.dtype))
        encoder.train()
        tail = self.tail.to(table.device)
        table[tail] = self.map(sums[tail] / self.contexts.number[self.tail, None].to(sums))


def _enhanced(step: LossContext) -> EnhancedUsers:
    if not isinstance(step.sequence_encoder, EnhancedUsers):
        raise _unfit(step.sequence_encoder, None)
    return step.sequence_encoder


def _unfit(encoder: object, items: object) -> SettingError:
    beside = "" if items is None else f" and the items {type(items).__name__}"
    return SettingError(
        f"the terms of MELT found the sequence encoder {type(encoder).__name__}{beside}, wanted EnhancedUsers over one table; "
        "use method=melt with model=sequential, or leave those terms out"
    )
