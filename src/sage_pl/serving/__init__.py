"""Serving a trained model: as a folder of its own, and as cached lists of every user.

What loads and answers needs torch, numpy and jaxtyping alone; what writes folders and lists is imported where it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from sage_pl.serving.cached_recommender import CachedRecommender, popular
from sage_pl.serving.exported_model import ExportedModel, Recommendation
from sage_pl.serving.loading import load
from sage_pl.serving.top_k_cache import Origin, TopKCache

if TYPE_CHECKING:
    from sage_pl.serving.exported import model_name, save
    from sage_pl.serving.histories import Histories
    from sage_pl.serving.refreshing import refresh

_WRITERS = {"model_name": "exported", "save": "exported", "Histories": "histories", "refresh": "refreshing"}

__all__ = [
    "CachedRecommender",
    "ExportedModel",
    "Histories",
    "Origin",
    "Recommendation",
    "TopKCache",
    "load",
    "model_name",
    "popular",
    "refresh",
    "save",
]


def __getattr__(name: str) -> Any:
    if name not in _WRITERS:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(importlib.import_module(f"{__name__}.{_WRITERS[name]}"), name)
