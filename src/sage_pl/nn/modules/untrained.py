"""Rankers without training, as ``method=transitions`` and the like build them."""

from __future__ import annotations

from sage_pl.data.targets import NextItem
from sage_pl.nn.item_encoders.nothing import NoVectors
from sage_pl.nn.modules.sequential import SequentialRecommender
from sage_pl.nn.sequence_encoders.nothing import NoStates
from sage_pl.types import Scorer


def untrained(n_items: int, max_len: int, scorer: Scorer) -> SequentialRecommender:
    """A model without a part of its own, ready to rank by a scorer alone."""
    return SequentialRecommender(NoVectors(n_items), NoStates(), NextItem(), max_len=max_len, scorer=scorer).eval()
