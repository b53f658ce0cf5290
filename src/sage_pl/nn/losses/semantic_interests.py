"""EIMF: interests in words teach the interests of behaviour, for typical users alone."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sage_pl.errors import SettingError
from sage_pl.nn.losses.base import LossTerm
from sage_pl.nn.losses.contrastive import InfoNCE
from sage_pl.ranges import Count, Probability, Seed, Temperature, Weight, Width
from sage_pl.semantic.kmeans import repeatable_kmeans
from sage_pl.types import LossContext, SeqBatch


class TypicalUsers(LossTerm):
    """A loss between the mean z of the interests of a user's behaviour and the mean s of the text vectors of the described
    ones, over the typical users of a step.

    Typical are, of the users in each cluster of s (k-means), the share nearest to its centre. Serving reads z alone, so no
    language model stands in its way.

    Args:
        weight: factor of this loss.
        interests: path of the ``interests`` artifact: text vectors of every user's interests.
        n_users: U.
        dim: width of the states.
        typical: share of the users of a cluster, at least one of each.
        clusters: number of clusters, or of described users where there are fewer.
        seed: of k-means.

    Raises:
        SettingError: the interests belong to another number of users, or no user has any.

    Reference: EIMF (Qiao et al. 2024). Known by its abstract and summaries alone: clusters, typical samples, the two tasks and
    inference by behaviour are its; how samples are chosen, forms and weights of the tasks are ours.
    """

    extent = "users"

    def __init__(
        self,
        weight: Weight,
        interests: str,
        n_users: Count,
        dim: Width = 64,
        typical: Probability = 0.1,
        clusters: Count = 20,
        seed: Seed = 0,
    ) -> None:
        super().__init__(weight)
        offsets, values = (
            np.load(Path(interests) / f"{name}.npy", allow_pickle=False) for name in ("offsets", "values")
        )
        if len(offsets) != n_users + 2 or not len(values):
            raise SettingError(
                f"{interests} holds {len(values)} interests of {len(offsets) - 2} users, wanted some of {n_users}; run "
                "scripts/prepare.py for this data set"
            )
        counts = np.diff(offsets)
        sums = np.zeros((n_users + 1, values.shape[1]), dtype=np.float32)
        np.add.at(sums, np.repeat(np.arange(n_users + 1), counts), values.astype(np.float32))
        means = torch.from_numpy(sums / np.maximum(counts, 1)[:, None].astype(np.float32))
        self.semantic: Tensor
        self.register_buffer("semantic", means, persistent=False)
        self.typical = typical_rows(means, torch.from_numpy(counts > 0), typical, clusters, seed)
        self.project = nn.Linear(dim, means.shape[1])

    def draw(self, batch: SeqBatch, epoch: int) -> Int[Tensor, "M 2"]:
        """The row and the id of each typical user."""
        users = batch["user"]
        rows = torch.nonzero(self.typical[users])[:, 0]
        return torch.stack([rows, users[rows]], 1)

    def forward(self, step: LossContext) -> Float[Tensor, ""]:
        rows, users = step.batch["draws"][self.name].unbind(1)
        states = step.hidden[step.batch["state_rows"], -1]
        if states.ndim == 3:  # several interests
            states = mean_interest(states)
        if not len(rows):
            return states.new_zeros(())
        return self.compare(states[rows], self.semantic[users])

    @abstractmethod
    def compare(self, states: Float[Tensor, "M D"], texts: Float[Tensor, "M T"]) -> Float[Tensor, ""]:
        """The loss of at least one user."""


class InterestAlignment(TypicalUsers):
    """:class:`sage_pl.nn.losses.contrastive.InfoNCE` of ``W z`` and ``s``: each user against the others of the step.

    Args:
        weight, interests, n_users, dim, typical, clusters, seed: see :class:`TypicalUsers`.
        temperature: of the contrast.
    """

    def __init__(
        self,
        weight: Weight,
        interests: str,
        n_users: Count,
        dim: Width = 64,
        typical: Probability = 0.1,
        clusters: Count = 20,
        seed: Seed = 0,
        temperature: Temperature = 0.1,
    ) -> None:
        super().__init__(weight, interests, n_users, dim, typical, clusters, seed)
        self.temperature = temperature

    def compare(self, states: Float[Tensor, "M D"], texts: Float[Tensor, "M T"]) -> Float[Tensor, ""]:
        return InfoNCE()(self.project(states), texts, self.temperature)


class SemanticPrediction(TypicalUsers):
    """``mean 1 - cos(W_2 relu(W_1 z), s)``: the described interests, predicted from behaviour."""

    def __init__(
        self,
        weight: Weight,
        interests: str,
        n_users: Count,
        dim: Width = 64,
        typical: Probability = 0.1,
        clusters: Count = 20,
        seed: Seed = 0,
    ) -> None:
        super().__init__(weight, interests, n_users, dim, typical, clusters, seed)
        self.hidden = nn.Linear(dim, dim)

    def compare(self, states: Float[Tensor, "M D"], texts: Float[Tensor, "M T"]) -> Float[Tensor, ""]:
        predicted = self.project(F.relu(self.hidden(states)))
        return (1 - F.cosine_similarity(predicted, texts, dim=1)).mean()


def mean_interest(states: Float[Tensor, "B K D"]) -> Float[Tensor, "B D"]:
    """The mean of a user's interests; those equal to the first stand for absent ones (``InterestEncoder``) and do not count."""
    own = (states != states[:, :1]).any(-1)
    own[:, 0] = True
    return (own[..., None] * states).sum(1) / own.sum(1, keepdim=True)


def typical_rows(
    vectors: Float[Tensor, "U T"], described: Bool[Tensor, "U"], share: float, clusters: int, seed: int
) -> Bool[Tensor, "U"]:
    """True at the rows nearest to the centre of their cluster: ``share`` of each cluster, rounded up."""
    rows = torch.nonzero(described)[:, 0]
    points = vectors[rows].numpy()
    means = repeatable_kmeans(points, clusters, seed)
    distances = np.linalg.norm(points - means.cluster_centers_[means.labels_], axis=1)
    order = np.lexsort((distances, means.labels_))  # cluster after cluster, nearest first
    sizes = np.bincount(means.labels_)
    place = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    near = order[place < np.repeat(np.ceil(share * sizes), sizes)]
    return torch.zeros_like(described).index_fill(0, rows[torch.from_numpy(near)], True)
