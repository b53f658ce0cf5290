"""A text encoder of new items stays loaded, and is loaded anew where what it was made of changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest

from sage_pl.semantic.embedders.protocol import Encode
from sage_pl.semantic.embedders.tfidf import TfidfEmbedder
from sage_pl.serving import new_items
from sage_pl.serving.new_items import TextSource

KNOWN = ("green leaf tea", "black leaf tea", "led desk lamp", "led lamp bulb")


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """What encoders were fitted to."""
    calls: list[Sequence[str]] = []
    fitted = TfidfEmbedder.fitted

    def counted(self: TfidfEmbedder, known: Sequence[str]) -> Encode:
        calls.append(known)
        return fitted(self, known)

    monkeypatch.setattr(TfidfEmbedder, "fitted", counted)
    new_items._Fitted.of.cache_clear()  # type: ignore[attr-defined]
    return calls


def vectors(known: tuple[str, ...], title: str) -> tuple[np.ndarray, np.ndarray]:
    embed = {"_target_": "sage_pl.semantic.embedders.tfidf.TfidfEmbedder", "dim": 2}
    source = TextSource(embed, ("title",), None, 1000, {}, known, (True,) * len(known))
    old, new, _ = source.vectors(pl.DataFrame({"item_id": ["x"], "title": [title]}), None)
    return old.numpy(), new.numpy()


def test_an_encoder_is_loaded_once_for_all_additions(fits: list[Any]) -> None:
    old, first = vectors(KNOWN, KNOWN[0])
    again, second = vectors(KNOWN, KNOWN[3])
    assert len(fits) == 1
    np.testing.assert_allclose([first[0], second[0]], [old[0], old[3]], atol=1e-6)
    np.testing.assert_array_equal(old, again)


def test_an_encoder_of_other_texts_or_files_is_loaded_anew(fits: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    vectors(KNOWN, KNOWN[0])
    vectors((*KNOWN, "oak desk"), KNOWN[0])
    monkeypatch.setattr(new_items, "identity", lambda embedder: {"adapter": "replaced"})
    vectors((*KNOWN, "oak desk"), KNOWN[0])
    assert len(fits) == 3
