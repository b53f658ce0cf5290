"""User distillation from stored states: the fast, approximate form of the distillation term."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from sage_pl.errors import SettingError
from sage_pl.nn.losses.distillation import UserDistillation, means_of
from sage_pl.ranges import Count, Temperature, Weight
from sage_pl.types import LossContext, SeqBatch


class BankDistillation(UserDistillation):
    """:class:`UserDistillation` whose teachers are states stored in the teachers' last training steps.

    ``mean (u - mean_s m_s)^2``, where ``m_s`` is similar user s's state when s was last in a batch. The term costs a lookup
    instead of a second encoding. It is approximate: a state is up to an epoch old, and was computed with dropout. Similar users
    without a stored state yet are left out.

    The bank is U x E numbers; checkpoints contain it, so that resuming stays exact.

    Args:
        weight: alpha in the paper.
        n_users: U.
        user_sim_func, temperature: see :class:`UserDistillation`.
        fresh_dropout: refused, since nobody is encoded again.

    Raises:
        SettingError: ``fresh_dropout`` is true.

    Needs: ``user``, ``state_rows``, ``neighbour_users``.
    """

    needs = frozenset({"user", "neighbour_users"})

    def __init__(
        self,
        weight: Weight,
        n_users: Count,
        user_sim_func: Literal["kd", "cl"] = "kd",
        temperature: Temperature = 1.0,
        fresh_dropout: bool = False,
    ) -> None:
        super().__init__(weight, user_sim_func, temperature)
        if fresh_dropout:
            raise SettingError(
                "loss.fresh_dropout encodes users again, and distillation_bank remembers their states; take "
                "loss/term@loss.terms.distillation=distillation, or loss.fresh_dropout=false"
            )
        self.n_users = n_users
        self.register_buffer("known", torch.zeros(n_users + 1, dtype=torch.bool))
        self.known: Tensor
        self.bank: Tensor | None = None  # [U + 1, E]; the first step sets E

    def item_ids(self, batch: SeqBatch) -> list[Int[Tensor, "..."]]:
        return []

    def forward(self, step: LossContext) -> Float[Tensor, ""]:
        students = step.user_states()
        means, has_teacher = self.look_up(step.batch["neighbour_users"], students)
        self.store(step.batch["user"], students)
        # a contrast of these users with each other: synchronises for their number
        if self.user_sim_func == "cl":
            users = has_teacher.nonzero().squeeze(1)
            return self.distance(students[users], means[users])
        distances = F.mse_loss(students, means, reduction="none").mean(1)
        return (distances * has_teacher).sum() / has_teacher.sum().clamp(min=1)

    @torch.no_grad()
    def look_up(
        self, neighbours: Int[Tensor, "B S"], like: Float[Tensor, "B E"]
    ) -> tuple[Float[Tensor, "B E"], Tensor]:
        """Mean stored state of each user's teachers, and whether there is any."""
        if self.bank is None:
            self.bank = like.new_zeros(self.n_users + 1, like.shape[1])
        self.bank = self.bank.to(like)
        real = self.known[neighbours] & (neighbours > 0)
        return means_of(self.bank, neighbours, real), real.any(1)

    @torch.no_grad()
    def store(self, users: Int[Tensor, "B"], states: Float[Tensor, "B E"]) -> None:
        assert self.bank is not None
        self.bank[users] = states.detach()
        self.known[users] = True

    def get_extra_state(self) -> dict[str, Any]:
        return {} if self.bank is None else {"bank": self.bank}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.bank = state.get("bank")
