"""What a sequence is trained to predict, and the form of a history at prediction.

Each class turns a batch of whole training sequences into inputs and labels (``training``), and a history into the input
that the model predicts from (``inference``). ``state_rows`` names the rows whose last position is the user's state in
serving; distillation compares those.
"""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

from sage_pl.errors import SettingError
from sage_pl.ranges import Count, Probability
from sage_pl.types import PADDING, SeqBatch, real


class NextItem:
    """Every position predicts the item after it (SASRec, GRU4Rec).

    ``[a, b, c]`` becomes input ``[a, b]`` with targets ``[b, c]``.
    """

    def training(self, batch: SeqBatch) -> SeqBatch:
        sequence = batch["items"]
        items, targets = sequence[:, :-1], sequence[:, 1:]
        targets = torch.where(real(items), targets, PADDING)
        rows = torch.arange(len(items), device=items.device)
        return {**batch, "items": items, "targets": targets, "state_rows": rows}

    def inference(self, items: Int[Tensor, "B L"]) -> Int[Tensor, "B M"]:
        return items

    def of_items(self, n_items: int) -> NextItem:
        return self


class LastItem(NextItem):
    """Only the last item is predicted: one label per user, as the reference trains GRU4Rec."""

    def training(self, batch: SeqBatch) -> SeqBatch:
        batch = super().training(batch)
        targets = torch.zeros_like(batch["targets"])
        targets[:, -1] = batch["targets"][:, -1]
        return {**batch, "targets": targets}


class Cloze:
    """Masked items are predicted from both sides (BERT4Rec), and once per user the masked last item from its past.

    A batch of B users becomes 2B rows. Rows ``0..B-1``: each item is a target with ``probability``; 80 % of the targets
    become the mask token, 10 % a random item, 10 % stay. Rows ``B..2B-1``: only the last item is masked, as at inference,
    where the mask token is appended to the history; these rows hold the user's state.

    Args:
        n_items: N, so that the mask token is N + 1.
        probability: share of the items that are targets; 0.6 in the reference's scripts.

    Reference: Sun et al. 2019 (BERT4Rec), section 3.6. The SAGE reference makes the same two copies as separate
    samples.
    """

    def __init__(self, n_items: Count, probability: Probability = 0.6) -> None:
        if not 0 < probability <= 1:
            raise SettingError(f"targets.probability is {probability}, wanted a share in (0, 1]")
        self.n_items = n_items
        self.mask_token = n_items + 1
        self.probability = probability

    def training(self, batch: SeqBatch) -> SeqBatch:
        sequence = batch["items"]
        is_target = (torch.rand(sequence.shape, device=sequence.device) < self.probability) & real(sequence)
        fate = torch.rand(sequence.shape, device=sequence.device)
        noise = torch.randint_like(sequence, 1, self.n_items + 1)
        cloze = torch.where(is_target & (fate < 0.8), self.mask_token, sequence)
        cloze = torch.where(is_target & (fate >= 0.9), noise, cloze)
        last = torch.zeros_like(is_target)
        last[:, -1] = real(sequence[:, -1])
        items = torch.cat([cloze, torch.where(last, self.mask_token, sequence)])
        targets = torch.where(torch.cat([is_target, last]), sequence.repeat(2, 1), PADDING)
        rows = torch.arange(len(sequence), 2 * len(sequence), device=sequence.device)
        return {**batch, "items": items, "targets": targets, "state_rows": rows}

    def inference(self, items: Int[Tensor, "B L"]) -> Int[Tensor, "B M"]:
        return torch.cat([items, torch.full_like(items[:, :1], self.mask_token)], dim=1)

    def of_items(self, n_items: int) -> Cloze:
        return Cloze(n_items, self.probability)


class Prefixes(NextItem):
    """Every prefix is a row that predicts the item after it, at its last position alone.

    ``[a, b, c]`` becomes the inputs ``[0, a]`` and ``[a, b]`` with the targets ``[0, b]`` and ``[0, c]``: the labels of
    :class:`NextItem`, for models in which a position depends on later ones (BSARec's filter) or whose only state is that of
    the last position (interests). A batch of B users becomes one row per label, so a step costs about L times as much.
    """

    def training(self, batch: SeqBatch) -> SeqBatch:
        sequence = batch["items"]
        width = sequence.shape[1] - 1
        users, ends = real(sequence[:, :-1]).nonzero(as_tuple=True)  # each prefix ends with column `end`
        columns = ends[:, None] - torch.arange(width - 1, -1, -1, device=sequence.device)
        items = torch.where(columns >= 0, sequence[users[:, None], columns.clamp(min=0)], PADDING)
        targets = torch.zeros_like(items)
        targets[:, -1] = sequence[users, ends + 1]
        whole = (ends == width - 1).nonzero().squeeze(1)
        return {**batch, "items": items, "targets": targets, "state_rows": whole, "user_items": sequence[users]}
