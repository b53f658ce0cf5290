"""A trained model at work: as a folder of its own, and as lists kept for every user."""

from sage_pl.serving.exported import load, save
from sage_pl.serving.top_k_cache import CachedRecommender, TopKCache, refresh

__all__ = ["CachedRecommender", "TopKCache", "load", "refresh", "save"]
