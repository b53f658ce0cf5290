"""User distillation: a user's state is drawn to the mean state of semantically similar users."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sage_pl.errors import SettingError
from sage_pl.nn.losses.base import LossTerm
from sage_pl.nn.losses.contrastive import SoftTargets
from sage_pl.ranges import Temperature, Weight
from sage_pl.types import LossContext, SeqBatch


class UserDistillation(LossTerm):
    """``kd``: ``mean (u - mean_s u_s)^2`` over users and widths; ``cl``: :class:`SoftTargets` of u and the
    teachers' mean.

    Teachers' states are computed from their training inputs without gradient, once per distinct teacher; users without teachers
    are left out.

    Args:
        weight: alpha in the paper.
        user_sim_func: ``kd`` or ``cl``.
        temperature: of ``cl``.
        fresh_dropout: as the reference: the student's state is that of a further pass, and the teachers' have dropout, so both
            sides differ by noise even where their sequences are equal.

    Needs: ``state_rows``, ``neighbours``, ``users_with_teachers``, ``neighbour_items``.
    Reference: LLM-ESR, section 3.4; docs/deviations.md. Differs: unless ``fresh_dropout``, the student's state is that of the
    main pass, where the reference encodes the user a second time, and teachers are a target, so their sequences are encoded
    without dropout (items with a dropout of their own, as ``item_encoder=fused`` has, are those of the step). Teachers with an
    empty input do not take part; BERT4Rec compares states at the mask token for both.
    """

    extent = "users"
    needs = frozenset({"neighbours", "users_with_teachers", "neighbour_items"})
    READ_WITH: ClassVar = {"temperature": ("user_sim_func", "cl")}

    def __init__(
        self,
        weight: Weight,
        user_sim_func: Literal["kd", "cl"] = "kd",
        temperature: Temperature = 1.0,
        fresh_dropout: bool = False,
    ) -> None:
        super().__init__(weight)
        if user_sim_func not in ("kd", "cl"):
            raise SettingError(f"loss.user_sim_func is {user_sim_func!r}, wanted 'kd' or 'cl'")
        self.user_sim_func = user_sim_func
        self.temperature = temperature
        self.fresh_dropout = fresh_dropout

    def item_ids(self, batch: SeqBatch) -> list[Int[Tensor, "..."]]:
        return list(batch["neighbour_items"])

    def forward(self, step: LossContext) -> Float[Tensor, ""]:
        students, users = step.user_states(again=self.fresh_dropout), step.batch["users_with_teachers"]
        if not len(users):
            return students.new_zeros(())
        states = step.encode(step.batch["neighbour_items"], dropout=self.fresh_dropout)
        rows = step.batch["neighbours"][users]
        return self.distance(students[users], means_of(states, rows.clamp(min=0), rows >= 0))

    def distance(self, students: Float[Tensor, "B E"], teachers: Float[Tensor, "B E"]) -> Float[Tensor, ""]:
        """Distance of users' states from their teachers' means."""
        if self.user_sim_func == "kd":
            return F.mse_loss(students, teachers)
        return SoftTargets(detach_targets=True)(students, teachers, self.temperature)


def means_of(states: Float[Tensor, "M E"], rows: Int[Tensor, "B S"], real: Bool[Tensor, "B S"]) -> Float[Tensor, "B E"]:
    """The mean of the states in the rows where ``real``; zero where there are none."""
    share = real.to(states.dtype) / real.sum(1, keepdim=True).clamp(min=1)
    return F.embedding_bag(rows, states, per_sample_weights=share, mode="sum")
