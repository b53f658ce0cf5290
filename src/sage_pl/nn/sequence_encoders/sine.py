"""SINE: a user's few interests out of a pool of concepts."""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sage_pl.errors import SettingError
from sage_pl.nn.sequence_encoders.interests import Interests
from sage_pl.nn.sequence_encoders.sam import visible
from sage_pl.ranges import AtMost, Count, Temperature, Width


class SparseInterests(nn.Module):
    """The k concepts of a pool C that match a history best, its interest in each, and shares by the predicted intention.

    With attention ``a_t(X; W, w) = softmax_t(tanh(x_t W) w)`` and ``norm`` to length 1:

    - concepts ``C_u = C_I * sigmoid(s_I)``, I the k largest of ``s = C z``, ``z = sum_t a_t(X; W_1, w_1) x_t``;
    - assignment ``P_(k|t) = softmax_k(<norm(x_t W_3), LN(C_u)_k>)``, attention ``P_(t|k) = a_t(X; W_k, w_k)``;
    - interests ``z_k = norm(sum_t P_(k|t) P_(t|k) x_t)``;
    - intention ``c = LN(sum_t a_t(Y; W_3, w_4) y_t)`` with ``y_t = sum_k P_(k|t) C_uk``; shares ``softmax_k(<z_k, c> / tau)``.

    Read by the mean, the state is ``sum_k share_k z_k``.

    Args:
        dim: width D.
        concepts: size of the pool.
        count: k, at most as many.
        temperature: tau.

    Raises:
        SettingError: there are fewer concepts than interests.

    Reference: SINE (Tan et al. 2021), constants of RecBole. Differs: padding is masked (RecBole ignores it); the penalty on the
    pool's covariance is left out, which RecBole's CE loss does too.
    """

    per_user = False

    def __init__(
        self,
        dim: Width = 64,
        concepts: Width = 50,
        count: Annotated[Count, AtMost("concepts")] = 4,
        temperature: Temperature = 0.1,
    ) -> None:
        super().__init__()
        if not 1 <= count <= concepts:
            raise SettingError(
                f"sequence_encoder.extractor has count={count} of concepts={concepts}, wanted 1 to so many"
            )
        self.count, self.temperature = count, temperature
        self.concepts = nn.Parameter(torch.empty(concepts, dim))
        nn.init.xavier_normal_(self.concepts)
        self.summary, self.focus = Attention(dim, 1), Attention(dim, count)
        self.assign = nn.Linear(dim, dim, bias=False)
        self.intention = nn.Linear(dim, 1, bias=False)
        self.norm_concepts, self.norm_intention = nn.LayerNorm(dim), nn.LayerNorm(dim)

    def forward(
        self, states: Float[Tensor, "B L D"], mask: Bool[Tensor, "B L"], users: Int[Tensor, "B"] | None = None
    ) -> Interests:
        mask = visible(mask)
        # concepts of the user
        summary = (self.summary(states, mask) * states).sum(1)
        scores, ids = (summary @ self.concepts.T).topk(self.count)
        concepts = F.embedding(ids, self.concepts) * scores.sigmoid()[..., None]
        # assignment of positions to concepts, and interests
        similarities = F.normalize(self.assign(states), dim=-1) @ self.norm_concepts(concepts).transpose(1, 2)
        assignment = similarities.softmax(2)  # [B, L, k]
        vectors = F.normalize((assignment * self.focus(states, mask)).transpose(1, 2) @ states, dim=-1)
        # intention, and shares of the interests
        mixtures = assignment @ concepts
        weights = attend(self.intention(self.assign(mixtures).tanh()), mask)
        intention = self.norm_intention((weights * mixtures).sum(1))
        shares = (vectors @ intention[..., None]).squeeze(2) / self.temperature
        return Interests(vectors, shares.softmax(1))


class Attention(nn.Module):
    """``softmax_t(tanh(x_t W_k) w_k)`` for each of K pairs, [B, L, D] -> [B, L, K]."""

    def __init__(self, dim: Width, count: Count) -> None:
        super().__init__()
        self.inner = nn.Parameter(torch.empty(dim, count, dim))
        self.outer = nn.Parameter(torch.empty(count, dim))
        for weight in (self.inner, self.outer):
            nn.init.normal_(weight, std=dim**-0.5)

    def forward(self, x: Float[Tensor, "B L D"], mask: Bool[Tensor, "B L"]) -> Float[Tensor, "B L K"]:
        scores = (torch.einsum("bld,dkh->blkh", x, self.inner).tanh() * self.outer).sum(-1)
        return attend(scores, mask)


def attend(scores: Float[Tensor, "B L K"], mask: Bool[Tensor, "B L"]) -> Float[Tensor, "B L K"]:
    """Softmax over the positions where ``mask`` is True."""
    return scores.masked_fill(~mask[..., None], -torch.inf).softmax(1)
