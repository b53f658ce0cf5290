"""Fuzzy prototypes: an item's collaborative vector is drawn to the centres of its clusters."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from sage_pl.artifacts.store import Artifact
from sage_pl.data.loader import load_sequences
from sage_pl.errors import SettingError
from sage_pl.nn.losses.base import LossTerm
from sage_pl.nn.losses.items import real_items
from sage_pl.ranges import Bit, Fuzzifier, Weight
from sage_pl.semantic.memberships import prototypes
from sage_pl.types import LossContext


class Prototype(LossTerm):
    """``mean (E_id[j] - q(j))^2`` with ``q(j) = sum_k U[j, k]^m c_k / sum_k U[j, k]^m``, over items and widths.

    The gradient of a row is tiny, but where no other reaches the row, Adam takes steps of full size: an item without training
    events becomes its prototype within an epoch or two and can no longer be told from its cluster.

    Args:
        weight: gamma in the paper.
        clusters: path of the ``cluster`` artifact (memberships U [R, C], centres c [C, D]).
        fuzzy_m: the fuzzifier m > 1.
        scope: ``catalogue`` takes every item once, so that tail items are reached too; ``batch`` takes every occurrence
            in the step's inputs, as the reference does (docs/deviations.md).
        normalise: divide by the sum of the powers; False is the reference's form, whose prototypes shrink towards the
            origin.
        index_offset: 1 reproduces the reference's off-by-one, where item j reads the memberships of item j + 1.
        sequences: path of the ``sequences`` artifact; of the catalogue, items without training events are left out. None takes
            every item.

    Reference: SAGE code line, ``ClusterHandler``; docs/deviations.md. Gradient reaches the ID table alone.
    """

    extent = "users"
    reads = frozenset({"id"})
    READ_WITH: ClassVar = {"sequences": ("scope", "catalogue")}

    def __init__(
        self,
        weight: Weight,
        clusters: str,
        fuzzy_m: Fuzzifier = 2.0,
        scope: Literal["catalogue", "batch"] = "catalogue",
        normalise: bool = True,
        index_offset: Bit = 0,
        sequences: str | None = None,
    ) -> None:
        super().__init__(weight)
        if scope not in ("catalogue", "batch"):
            raise SettingError(f"the prototype term's scope is {scope!r}, wanted 'catalogue' or 'batch'")
        self.scope = scope
        artifact = Artifact.at(clusters)
        u, centres = artifact.array("memberships"), artifact.array("centres")
        table = prototypes(u, centres, fuzzy_m, normalise=normalise, index_offset=index_offset)
        self.register_buffer("table", torch.from_numpy(table).float(), persistent=False)
        self.table: Tensor
        drawn = np.arange(1, len(table) - 1)
        if sequences is not None:
            drawn = drawn[load_sequences(sequences).train_counts[drawn] > 0]
        self.register_buffer("drawn", torch.from_numpy(drawn), persistent=False)
        self.drawn: Tensor

    def forward(self, step: LossContext) -> Float[Tensor, ""]:
        if self.scope == "catalogue":
            # the ID view alone, so the step need not encode the catalogue
            table = step.items.whole("id")
            return F.mse_loss(F.embedding(self.drawn, table), F.embedding(self.drawn, self.table))
        ids = real_items(step.batch["items"], step.mask_token)
        if not len(ids):
            return self.table.new_zeros(())
        return F.mse_loss(step.items.inputs(ids)["id"], F.embedding(ids, self.table))
