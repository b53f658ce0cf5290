"""Collaborative alignment: an item's vector is drawn to that of a finished plain run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from sage_pl.errors import SettingError
from sage_pl.nn.losses.base import LossTerm
from sage_pl.nn.losses.items import compared_items
from sage_pl.ranges import Count, Pair, Temperature, Weight
from sage_pl.types import LossContext, SeqBatch


class TeacherAlignment(LossTerm):
    """``form(ẽ, e, t)`` over the step's items: ẽ the rows of a teacher's frozen item table, e the student's view.

    With the default form, ``- mean_i 1/2 [ log p(ẽ_i | e_i) + log p(e_i | ẽ_i) ]``, each among the step's items.

    Args:
        weight: alpha in the paper.
        table: folder of the finished run, with its ``item_table.npy`` [R, D].
        n_items: N.
        form: the contrast of two sides, ``form(teacher, student, temperature)``: ``InfoNCE``, ``Decoupled`` (the paper) or
            ``SoftTargets`` (the reference code) of :mod:`sage_pl.nn.losses.contrastive`.
        temperature: gamma in the paper; around 0.1 with cosines, 2 with the reference's inner products.
        view: the student's view that is compared; as wide as the teacher's table.
        inputs: take the items of the input sequences (the paper); False: the predicted ones (the reference's code).
        unique: each item once; False repeats it per occurrence (the reference's code), which makes copies of an item each
            other's negatives in every form but ``SoftTargets``.
        max_items: items contrasted in one step, more are sampled down, since cost grows with their square; None keeps all.

    Raises:
        ValueError: the table is missing, does not have N + 2 rows, or (in the first step) has another width than the view.

    Reference: LLMEmb, section on recommendation adaptation training, equations 7 and 8. Differs from its code: distinct
    items, cosine InfoNCE, and a teacher of the run's own backbone instead of SASRec's for every backbone.
    """

    extent = "users"
    needs = frozenset({"distinct_items", "distinct_targets"})

    def __init__(
        self,
        weight: Weight,
        table: str,
        n_items: Count,
        form: Callable[[Tensor, Tensor, float], Tensor],
        temperature: Temperature = 0.1,
        view: str = "text",
        inputs: bool = False,
        unique: bool = True,
        max_items: Pair | None = 1024,
    ) -> None:
        super().__init__(weight)
        if temperature <= 0:
            raise SettingError(f"the teacher alignment's temperature is {temperature}, wanted a number above 0")
        if not (Path(table) / "item_table.npy").is_file():
            raise SettingError(
                f"the teacher alignment has no item_table.npy in {table}; leave table of its term as it comes, then a plain "
                "run is trained first, or set it to the folder of such a stage: outputs/artifacts/plain/KEY"
            )
        self.form = form
        self.temperature = temperature
        self.view = view
        self.source: Literal["items", "targets"] = "items" if inputs else "targets"
        self.needs = frozenset({f"distinct_{self.source}"})
        self.unique = unique
        self.max_items = max_items
        self.reads = frozenset({view})
        rows = np.load(Path(table) / "item_table.npy", allow_pickle=False)
        if len(rows) != n_items + 2:
            raise SettingError(
                f"{table}/item_table.npy has {len(rows)} rows, wanted {n_items + 2} (N + 2) for this data set; take a "
                "teacher trained on the same data set and split"
            )
        self.register_buffer("table", torch.from_numpy(rows).float(), persistent=False)
        self.table: Tensor

    def item_ids(self, batch: SeqBatch) -> list[Int[Tensor, "..."]]:
        return [] if self.source == "items" else [batch["targets"]]

    def forward(self, step: LossContext) -> Float[Tensor, ""]:
        ids = compared_items(step, self.source, self.unique, self.max_items)
        student, teacher = step.items.inputs(ids)[self.view], F.embedding(ids, self.table)
        if student.shape != teacher.shape:
            raise SettingError(
                f"the teacher's item vectors are {teacher.shape[1]} wide, the view {self.view} of this run "
                f"{student.shape[1]}; train both with the same dim"
            )
        return self.form(teacher, student, self.temperature)  # soft targets are not symmetric: teacher first
