"""An answer is the model's own where it is said to be, and says where it is not."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sage_pl.artifacts.store import Artifact
from sage_pl.data.sequences import Sequences
from sage_pl.data.targets import NextItem
from sage_pl.nn.decoders.item_decoder import ItemDecoder
from sage_pl.nn.item_encoders.codes import CodeEncoder
from sage_pl.nn.item_encoders.id import IdEncoder
from sage_pl.nn.modules.generative import GenerativeRecommender
from sage_pl.nn.modules.sequential import SequentialRecommender
from sage_pl.nn.sequence_encoders.single import SingleView
from sage_pl.serving import CachedRecommender, Origin, TopKCache, popular, refresh
from sage_pl.serving.top_k_cache import CacheError
from tests.golden.prepared import N_ITEMS, USERS, make_backbone, write_sequences
from tests.nn.decoders.tiny import make_network, random_codes, write_tokens
from tests.serving.summing import LISTS, ORIGIN, N, SumModel, made


@pytest.fixture
def cache(tmp_path: Path) -> TopKCache:
    refresh(tmp_path / "x", made(LISTS), ORIGIN, SumModel(), 4, batch_size=3)
    return TopKCache(tmp_path / "x")


def test_every_user_gets_what_the_model_says(cache: TopKCache) -> None:
    served = CachedRecommender(cache)
    for user, (name, items) in enumerate(LISTS.items(), start=1):
        alone = SumModel().recommend(torch.tensor([items or [0]]), 4, True, torch.tensor([user])).ids[0].tolist()
        found = served.recommend(name, np.array(items, np.int64), 4)
        assert (found.ids.tolist(), found.source) == (alone, "cache")
        assert found.scores.tolist() == [0, -1, -2, -3]
        assert served.recommend(name, np.array(items, np.int64), 2).ids.tolist() == alone[:2]


def plain(folder: Path) -> SequentialRecommender:
    backbone = make_backbone("sasrec").float()
    return SequentialRecommender(IdEncoder(N_ITEMS, dim=8), SingleView(backbone), NextItem(), max_len=6)


def generative(folder: Path) -> GenerativeRecommender:
    tokens = write_tokens(folder / "tokens", random_codes(0, 30, (3, 3, 3))[:N_ITEMS], (3, 3, 3))
    decoder = ItemDecoder(tokens, N_ITEMS, make_network("bilinear", 8))
    torch.nn.init.normal_(decoder.codes.weight, std=0.7)
    reader = SingleView(make_backbone("sasrec").float(), "item")
    return GenerativeRecommender(CodeEncoder(N_ITEMS, tokens, 8), reader, NextItem(), decoder, max_len=6)


@pytest.mark.parametrize("exclude_seen", [True, False], ids=["new items", "all items"])
@pytest.mark.parametrize("make", [plain, generative])
def test_what_is_kept_is_what_a_model_answers_live(
    make: Callable[[Path], Any], exclude_seen: bool, tmp_path: Path
) -> None:
    """Users of one batch, histories longer than the model reads among them, against each user alone."""
    torch.manual_seed(0)
    model, origin = make(tmp_path).eval(), Origin({"checkpoint": "small"}, exclude_seen)
    histories = made({f"u{user}": items for user, items in enumerate(USERS)})
    refresh(tmp_path / "x", histories, origin, model, 5)
    kept, asked = CachedRecommender(TopKCache(tmp_path / "x")), CachedRecommender(None, origin, model)
    for user, (name, items) in enumerate(zip(histories.names, USERS, strict=True), start=1):
        cached, live = (one.recommend(name, np.array(items), 5, user) for one in (kept, asked))
        assert (cached.source, live.source) == ("cache", "live")
        found = model.recommend(torch.tensor([items]), 5, exclude_seen, torch.tensor([user]))
        wanted = [item for item in found.ids[0].tolist() if item]
        assert cached.ids.tolist() == live.ids.tolist() == wanted
        assert len(wanted) == (min(5, N_ITEMS - len(set(items))) if exclude_seen else 5)
        np.testing.assert_allclose(cached.scores, found.scores[0, : len(wanted)].numpy(), rtol=1e-5, atol=1e-6)


def test_what_is_not_fresh_says_so(cache: TopKCache) -> None:
    most = np.array([20, 7, 21, 22, 23]), np.array([9.0, 8, 7, 6, 5])
    alone = CachedRecommender(cache, popular=most)
    kept = alone.recommend("anna", np.array([3, 5]), 4).ids.tolist()
    stale = alone.recommend("anna", np.array([3, 5, kept[0]]), 4)
    assert (stale.ids.tolist(), stale.source) == (kept[1:], "stale")
    new = alone.recommend("nobody", np.array([7]), 2)
    assert (new.ids.tolist(), new.scores.tolist(), new.source) == ([20, 21], [9, 7], "popular")
    asking = CachedRecommender(cache, live=SumModel(), popular=most)
    assert asking.recommend("anna", np.array([3, 5]), 4).source == "cache"
    for name, items, k in (("anna", [3, 5, 6], 4), ("nobody", [7], 2), ("anna", [3, 5], 9), ("nobody", [], 3)):
        answer = asking.recommend(name, np.array(items, np.int64), k)
        assert (answer.source, len(answer.ids)) == ("live", k)


def test_lists_of_another_model_are_not_fresh(cache: TopKCache, caplog: pytest.LogCaptureFixture) -> None:
    newer = dataclasses.replace(ORIGIN, model={**ORIGIN.model, "checkpoint": "newer"})
    assert CachedRecommender(cache, newer).recommend("anna", np.array([3, 5]), 4).source == "stale"
    assert CachedRecommender(cache, newer, SumModel()).recommend("anna", np.array([3, 5]), 4).source == "live"
    assert caplog.messages == 2 * [
        f"{cache.file} was made with another model.checkpoint; none of its lists counts as fresh"
    ]
    caplog.clear()
    assert CachedRecommender(cache, ORIGIN).recommend("anna", np.array([3, 5]), 4).source == "cache"
    assert not caplog.messages
    keeping = CachedRecommender(cache, dataclasses.replace(ORIGIN, exclude_seen=False))
    assert "another exclude_seen;" in caplog.text
    assert keeping.recommend("anna", np.array([3, 5, 12]), 4).ids.tolist() == [10, 11, 12, 13]


def test_without_anybody_to_ask_it_is_an_error(cache: TopKCache) -> None:
    alone = CachedRecommender(cache)
    with pytest.raises(CacheError, match="no source of 2 items for 'nobody': the cache has no list of the user"):
        alone.recommend("nobody", np.array([3, 5]), 2)
    for popular_too in (None, (np.array([1]), np.array([1.0]))):
        with pytest.raises(CacheError, match="no source of 5 items for 'anna': the cache has 4 items"):
            CachedRecommender(cache, popular=popular_too).recommend("anna", np.array([3, 5]), 5)
    with pytest.raises(ValueError, match="origin="):
        CachedRecommender(None)


def test_fewer_items_than_asked_for(tmp_path: Path) -> None:
    refresh(tmp_path / "x", made({"all": list(range(1, N))}), ORIGIN, SumModel(), 4)
    assert CachedRecommender(TopKCache(tmp_path / "x")).recommend("all", np.arange(1, N), 4).ids.tolist() == [N]


def test_popular_items_by_training_events(tmp_path: Path) -> None:
    """Training parts: 1 2 3; 4 1; 1 2 (two events alone are all training). Item 5 is held out, item 6 was never touched."""
    folder = Path(write_sequences(tmp_path, [[1, 2, 3, 5, 4], [4, 1, 5, 5], [1, 2]], 6))
    ids, counts = popular(Sequences.load(Artifact.at(folder)))
    assert (ids.tolist(), counts.tolist()) == ([1, 2, 3, 4], [3, 2, 1, 1])
    alone = CachedRecommender(None, ORIGIN, popular=(ids, counts))
    assert alone.recommend("nobody", np.array([2]), 9)[0].tolist() == [1, 3, 4]
