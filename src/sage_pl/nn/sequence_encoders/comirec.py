"""ComiRec: interests without text, by self-attention."""

from __future__ import annotations

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sage_pl.nn.sequence_encoders.interests import Interests
from sage_pl.nn.sequence_encoders.sam import ReversePositions, visible
from sage_pl.ranges import Count, Length, Width


class SelfAttentive(nn.Module):
    """``A = softmax_t(W_2 tanh(W_1 (H + P)^T))``, ``Z = A H``: K learned weightings of the sequence, the same for all users.

    Args:
        dim: width D; W_1 is 4 D x D, as in the reference code.
        max_len: longest history.
        count: K.

    Shape: states [B, L, D], mask [B, L] -> vectors [B, K, D], shares 1 / K.

    Reference: ComiRec-SA (Cen et al. 2020). Differs: padding is masked; positions count from the newest item; trained with the
    run's objective; no controller for diversity.
    """

    per_user = False

    def __init__(self, dim: Width = 64, max_len: Length = 50, count: Count = 4) -> None:
        super().__init__()
        self.position = ReversePositions(max_len, dim)
        self.scores = nn.Sequential(
            nn.Linear(dim, 4 * dim, bias=False), nn.Tanh(), nn.Linear(4 * dim, count, bias=False)
        )

    def forward(
        self, states: Float[Tensor, "B L D"], mask: Bool[Tensor, "B L"], users: Int[Tensor, "B"] | None = None
    ) -> Interests:
        scores = self.scores(self.position(states)).masked_fill(~visible(mask)[..., None], float("-inf"))
        vectors = scores.softmax(1).transpose(1, 2) @ states
        return Interests(vectors, vectors.new_full(vectors.shape[:2], 1 / vectors.shape[1]))
