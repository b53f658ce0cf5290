"""Trained prototypes: an item's collaborative vector is nearer to the prototypes of its clusters than to all others."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from sage_pl.artifacts.store import Artifact
from sage_pl.data.loader import load_sequences
from sage_pl.errors import SettingError
from sage_pl.nn.losses.base import LossTerm
from sage_pl.ranges import Fuzzifier, Temperature, Weight, Width
from sage_pl.semantic.memberships import prototypes
from sage_pl.types import LossContext


class PrototypeContrast(LossTerm):
    """``- mean_j sum_k w_jk log softmax_k(cos(E_id[j], p_k) / t)`` with ``w_jk = U[j, k]^m / sum_l U[j, l]^m``.

    The prototypes p [C, D] are trained, so the clusters of the text say which items belong together, not where in the space of
    purchases they lie. Items without training events are left out.

    Args:
        weight: factor of this loss in the total.
        clusters: path of the ``cluster`` artifact (memberships U [R, C]).
        sequences: path of the ``sequences`` artifact.
        dim: width D of the ID view.
        fuzzy_m: the fuzzifier m > 1.
        temperature: t.

    Raises:
        SettingError: the items are in no cluster or in one alone, which tells none from another.

    Ours, as an alternative to :class:`sage_pl.nn.losses.prototype.Prototype`; docs/methods/sage.md has what it gives. Gradient
    reaches the ID table and the prototypes alone.
    """

    extent = "users"
    reads = frozenset({"id"})

    def __init__(
        self,
        weight: Weight,
        clusters: str,
        sequences: str,
        dim: Width,
        fuzzy_m: Fuzzifier = 2.0,
        temperature: Temperature = 0.1,
    ) -> None:
        super().__init__(weight)
        memberships = Artifact.at(clusters).array("memberships")
        n_clusters = memberships.shape[1]
        if n_clusters < 2:
            raise SettingError(
                f"the items are in {n_clusters} cluster, and prototypes are contrasted; lower "
                "steps.cluster.min_cluster_size, or leave this term out"
            )
        items = np.flatnonzero(load_sequences(sequences).train_counts)
        self.items: Tensor
        self.register_buffer("items", torch.from_numpy(items), persistent=False)
        self.shares: Tensor
        shares = prototypes(memberships, np.eye(n_clusters), fuzzy_m)  # centres that are the clusters themselves
        self.register_buffer("shares", torch.from_numpy(shares[items]).float(), persistent=False)
        self.prototypes = nn.Parameter(torch.empty(n_clusters, dim).normal_(std=0.02))
        self.temperature = temperature

    def forward(self, step: LossContext) -> Float[Tensor, ""]:
        rows = F.normalize(F.embedding(self.items, step.items.whole("id")), dim=1)
        logits = rows @ F.normalize(self.prototypes, dim=1).T / self.temperature
        return -(self.shares * logits.log_softmax(1)).sum(1).mean()
