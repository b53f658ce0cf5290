"""Items as normal distributions, scored by their distance from a user's."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from sage_pl.ranges import Count, Width
from sage_pl.types import Views


class GaussianItems(nn.Module):
    """``N(m_i, diag(elu(c_i) + 1))`` with two trained tables m and c, from N(0, 0.02²); rows of padding stay zero.

    Views ``mean`` (m) and ``covariance`` (c). The scored vector is ``[m ; s ; |m|² + |s|² ; 1]`` with the deviations
    ``s = sqrt(elu(c) + 1)``: its inner product with :func:`state_of` a user's distribution is the negative squared Wasserstein
    distance ``-|m_u - m_i|² - |s_u - s_i|²``, so ranking and serving have no special case. Distances are small differences of
    long vectors: keep their products in float32 (``products=float32``).

    Args:
        n_items: N.
        dim: width D of both views; the scored vector is 2 D + 2 wide.

    Reference: STOSA (Fan et al. 2022), section 3.1.
    """

    def __init__(self, n_items: Count, dim: Width = 64) -> None:
        super().__init__()
        self.n_items = n_items
        self.input_dims: Mapping[str, int] = {"mean": dim, "covariance": dim}
        self.output_dim = 2 * dim + 2
        self.mean, self.covariance = (nn.Embedding(n_items + 2, dim, padding_idx=0) for _ in range(2))
        for table in (self.mean, self.covariance):
            nn.init.normal_(table.weight, std=0.02)
            nn.init.zeros_(table.weight[0])

    def views(self, ids: Int[Tensor, "M"], names: Collection[str] | None = None) -> Views:
        return {"mean": self.mean(ids), "covariance": self.covariance(ids)}

    def output(self, views: Views) -> Float[Tensor, "*P E"]:
        vectors = deviations(views)
        return torch.cat([vectors, vectors.square().sum(-1, keepdim=True), torch.ones_like(vectors[..., :1])], dim=-1)


def deviations(views: Views) -> Float[Tensor, "*P E"]:
    """``[m ; s]`` of items: the squared distance of two of these vectors is that of the distributions."""
    return torch.cat([views["mean"], positive(views["covariance"]).sqrt()], dim=-1)


def state_of(mean: Float[Tensor, "*P D"], covariance: Float[Tensor, "*P D"]) -> Float[Tensor, "*P E"]:
    """``[2 m ; 2 s ; -1 ; -|m|² - |s|²]`` of a distribution, s the root of its covariance."""
    vector = torch.cat([mean, covariance.sqrt()], dim=-1)
    return torch.cat([2 * vector, -torch.ones_like(mean[..., :1]), -vector.square().sum(-1, keepdim=True)], dim=-1)


def positive(x: Float[Tensor, "*P"]) -> Float[Tensor, "*P"]:
    """``elu(x) + 1``, at least 1e-12: where the exponential rounds to 0, its root would have no gradient."""
    return (F.elu(x) + 1).clamp(min=1e-12)
