"""MIND: interests without text, by dynamic routing into capsules."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sage_pl.nn.sequence_encoders.interests import Interests
from sage_pl.nn.sequence_encoders.sam import visible
from sage_pl.ranges import Count, Length, Width


class Capsules(nn.Module):
    """Behaviour-to-interest routing (Li et al. 2019, MIND, section 4.3) with the same bilinear map S for all pairs.

    ``iterations`` times, from logits ``b_kt`` that are drawn once and not trained:

    - ``w_kt = softmax_k(b_kt)``, over the user's own capsules;
    - ``u_k = squash(sum_t w_kt S h_t)``, ``squash(z) = |z|^2 / (1 + |z|^2) z / |z|``;
    - ``b_kt <- b_kt + <u_k, S h_t>``.

    Then ``z_k = W_2 relu(W_1 u_k)``. The gradient passes the last iteration alone. A user of n items has
    ``max(1, min(K, floor(log2 n)))`` capsules; the others have share 0.

    Label-aware attention with the power p is ``sum_k softmax_k(p <z_k, v>) z_k``; its limit for large p is
    ``sequence_encoder.readout=max``: the interest nearest to the target is trained, the best one scores.

    Args:
        dim: width D.
        max_len: longest history; the logits belong to positions, counted from the newest item.
        count: K.
        iterations: of the routing.
        adaptive: fewer capsules for short histories; False: K for every user.

    Shape: states [B, L, D], mask [B, L] -> vectors [B, K, D], shares 1 / (number of the user's capsules), or 0.

    Reference: MIND; constants of the code of ComiRec, which has it as a baseline. Differs: padding is masked; logits are drawn
    once for all users and kept in the checkpoint, so that a user's interests are the same in every run of it; trained with the
    run's objective.
    """

    per_user = False

    def __init__(
        self, dim: Width = 64, max_len: Length = 50, count: Count = 4, iterations: Count = 3, adaptive: bool = True
    ) -> None:
        super().__init__()
        self.iterations, self.adaptive = iterations, adaptive
        self.map = nn.Linear(dim, dim, bias=False)
        self.start: Tensor
        self.register_buffer("start", torch.randn(count, max_len + 1))  # one more for an appended mask token
        self.feed_forward = nn.Sequential(nn.Linear(dim, 4 * dim), nn.ReLU(), nn.Linear(4 * dim, dim))

    def forward(
        self, states: Float[Tensor, "B L D"], mask: Bool[Tensor, "B L"], users: Int[Tensor, "B"] | None = None
    ) -> Interests:
        mask = visible(mask)
        # the user's own capsules
        count, lengths = len(self.start), mask.sum(1)
        most = lengths.log2().floor().clamp(1, count) if self.adaptive else torch.full_like(lengths, count)
        own = torch.arange(count, device=mask.device) < most[:, None]
        # routing
        mapped = self.map(states)
        capsules = self._route(mapped, mask, own)
        shares = own / own.sum(1, keepdim=True)
        return Interests(self.feed_forward(capsules), shares.to(states.dtype))

    def _route(
        self, mapped: Float[Tensor, "B L D"], mask: Bool[Tensor, "B L"], own: Bool[Tensor, "B K"]
    ) -> Float[Tensor, "B K D"]:
        logits = self.start[:, : mapped.shape[1]].flip(1).to(mapped.dtype)
        fixed = mapped.detach()
        for _ in range(self.iterations - 1):
            logits = logits + squash(shares_of(logits, mask, own) @ fixed) @ fixed.transpose(1, 2)
        return squash(shares_of(logits, mask, own) @ mapped)


def shares_of(
    logits: Float[Tensor, "*B K L"], mask: Bool[Tensor, "B L"], own: Bool[Tensor, "B K"]
) -> Float[Tensor, "B K L"]:
    """``softmax_k`` over a user's own capsules, 0 at padding."""
    return logits.masked_fill(~own[..., None], -torch.inf).softmax(1) * mask[:, None]


def squash(z: Float[Tensor, "*P D"]) -> Float[Tensor, "*P D"]:
    """``|z|^2 / (1 + |z|^2) z / |z|``, 0 for z = 0."""
    square = z.square().sum(-1, keepdim=True)
    return square.clamp(min=torch.finfo(z.dtype).tiny).sqrt() / (1 + square) * z
