"""How well an encoder distinguishes held-out items."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from sage_pl.errors import SettingError
from sage_pl.semantic.scft.views import Pair

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


def describe_views(encoder: SentenceTransformer, views: Sequence[Pair], batch_size: int = 64) -> dict[str, float]:
    """``top1``, ``cosine`` and ``uniformity`` of :func:`describe_vectors` for pairs of views, without dropout."""
    settings: dict[str, Any] = {"batch_size": batch_size, "convert_to_tensor": True, "show_progress_bar": False}
    sides = (encoder.encode([pair[side] for pair in views], **settings) for side in (0, 1))
    return describe_vectors(*(side.float().clone() for side in sides))


def describe_vectors(first: Float[Tensor, "M D"], second: Float[Tensor, "M D"]) -> dict[str, float]:
    """How distinct and how spread the vectors of items are.

    Args:
        first, second: two views; row i of both belongs to item i.

    Returns:
        ``top1``: share of items whose first view has its nearest second view, by cosine, in the same item. ``cosine``: mean
        cosine of first views of different items. ``uniformity``: ``log mean exp(-2 |x - y|²)`` of the same pairs, normalised;
        lower is more even.

    Raises:
        ValueError: there are fewer than two items.
    """
    if len(first) < 2:
        raise SettingError(f"diagnostics compare different items; got {len(first)}, wanted at least 2")
    x, y = F.normalize(first, dim=1), F.normalize(second, dim=1)
    nearest = (x @ y.T).argmax(1)
    cosines = (x @ x.T)[~torch.eye(len(x), dtype=torch.bool, device=x.device)]
    return {
        "top1": (nearest == torch.arange(len(x), device=x.device)).double().mean().item(),
        "cosine": cosines.mean().item(),
        "uniformity": torch.exp(4 * cosines - 4).mean().log().item(),  # |x - y|² = 2 - 2 cos
    }
