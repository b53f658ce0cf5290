"""Serving a trained model: as a folder of its own, and as cached lists of every user."""

from sage_pl.serving.cached_recommender import CachedRecommender, popular
from sage_pl.serving.exported import load, model_name, save
from sage_pl.serving.exported_model import ExportedModel, Recommendation
from sage_pl.serving.histories import Histories
from sage_pl.serving.refreshing import refresh
from sage_pl.serving.top_k_cache import Origin, TopKCache

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
