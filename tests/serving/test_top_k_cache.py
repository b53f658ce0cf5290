"""Kept lists: made once per history and model, found again, refreshed where something changed, honest about their age."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sage_pl.serving.histories import Histories
from sage_pl.serving.top_k_cache import CachedRecommender, CacheError, TopKCache, history_key, refresh
from sage_pl.types import TopK

N = 30


class SumModel:
    """Recommends the items after the sum of the history and the user's id; remembers what it was asked."""

    def __init__(self, fail_after: int | None = None) -> None:
        self.asked: list[list[int]] = []
        self.fail_after = fail_after

    def recommend(self, items: torch.Tensor, k: int, exclude_seen: bool, users: torch.Tensor | None = None) -> TopK:
        if self.fail_after is not None and len(self.asked) >= self.fail_after:
            raise KeyboardInterrupt
        rows = []
        for row, user in zip(items.tolist(), users.tolist(), strict=True):  # type: ignore[union-attr]
            history = [item for item in row if item]
            self.asked.append(history)
            order = [1 + (sum(history) + user + step) % N for step in range(N)]
            best = [item for item in order if not (exclude_seen and item in history)][:k]
            rows.append(best + [0] * (k - len(best)))
        scores = -torch.arange(k, dtype=torch.float32).expand(len(rows), k)
        return TopK(torch.tensor(rows), scores)

    def answer_ranks(self, batch: object) -> dict[str, torch.Tensor]:
        raise NotImplementedError


def made(lists: dict[str, list[int]], new: tuple[str, ...] = ()) -> Histories:
    offsets = np.cumsum([0, *map(len, lists.values())])
    users = np.array([0 if name in new else row for row, name in enumerate(lists, start=1)])
    return Histories(list(lists), users, np.concatenate(list(lists.values())).astype(np.int64), offsets)


LISTS = {"anna": [3, 5], "ben": [7], "cleo": [1, 2, 3, 4], "dora": []}


def test_every_user_gets_what_the_model_says(tmp_path: Path) -> None:
    model = SumModel()
    done = refresh(tmp_path / "x.npy", made(LISTS), "m", model, 4, exclude_seen=True, batch_size=3)
    assert (done.made, done.kept) == (4, 0)
    served = CachedRecommender(TopKCache(tmp_path / "x.npy"), "m", exclude_seen=True)
    for user, (name, items) in enumerate(LISTS.items(), start=1):
        alone = SumModel().recommend(torch.tensor([items or [0]]), 4, True, torch.tensor([user])).ids[0].tolist()
        found = served.recommend(name, np.array(items, np.int64), 4)
        assert (found.ids.tolist(), found.source) == (alone, "cache")
        assert found.scores.tolist() == [0, -1, -2, -3]
        assert served.recommend(name, np.array(items, np.int64), 2).ids.tolist() == alone[:2]


def test_only_what_changed_is_made_again(tmp_path: Path) -> None:
    file = tmp_path / "x.npy"
    refresh(file, made(LISTS), "m", SumModel(), 4, exclude_seen=True)
    again = SumModel()
    assert refresh(file, made(LISTS), "m", again, 4, exclude_seen=True)[:2] == (0, 4)
    assert again.asked == []
    changed = {**LISTS, "ben": [7, 9], "emil": [8]}
    assert refresh(file, made(changed, new=("emil",)), "m", again, 4, exclude_seen=True)[:2] == (2, 3)
    assert sorted(again.asked) == [[7, 9], [8]]
    whole = tmp_path / "whole.npy"
    refresh(whole, made(changed, new=("emil",)), "m", SumModel(), 4, exclude_seen=True)
    assert file.read_bytes() == whole.read_bytes()
    assert refresh(file, made(changed), "another", SumModel(), 4, exclude_seen=True).made == 5
    assert refresh(file, made(changed), "another", SumModel(), 5, exclude_seen=True).made == 5
    del changed["cleo"]
    assert refresh(file, made(changed), "another", SumModel(), 5, exclude_seen=True)[:2] == (0, 4)
    assert len(TopKCache(file)) == 4


def test_interrupted_work_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "x.npy"
    with pytest.raises(KeyboardInterrupt):
        refresh(file, made(LISTS), "m", SumModel(fail_after=2), 4, exclude_seen=True, batch_size=1)
    assert len(TopKCache(file)) == 2
    assert refresh(file, made(LISTS), "m", SumModel(), 4, exclude_seen=True)[:2] == (2, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["x.npy"]


def test_what_is_not_fresh_says_so(tmp_path: Path) -> None:
    file = tmp_path / "x.npy"
    refresh(file, made(LISTS), "m", SumModel(), 4, exclude_seen=True)
    cache, popular = TopKCache(file), (np.array([20, 7, 21, 22, 23]), np.array([9.0, 8, 7, 6, 5]))
    alone = CachedRecommender(cache, "m", exclude_seen=True, popular=popular)
    kept = alone.recommend("anna", np.array([3, 5]), 4).ids.tolist()
    stale = alone.recommend("anna", np.array([3, 5, kept[0]]), 4)
    assert (stale.ids.tolist(), stale.source) == (kept[1:], "stale")
    new = alone.recommend("nobody", np.array([7]), 2)
    assert (new.ids.tolist(), new.scores.tolist(), new.source) == ([20, 21], [9, 7], "popular")
    asking = CachedRecommender(cache, "m", exclude_seen=True, live=SumModel(), popular=popular)
    assert asking.recommend("anna", np.array([3, 5]), 4).source == "cache"
    for name, items, k in (("anna", [3, 5, 6], 4), ("nobody", [7], 2), ("anna", [3, 5], 9), ("nobody", [], 3)):
        answer = asking.recommend(name, np.array(items, np.int64), k)
        assert (answer.source, len(answer.ids)) == ("live", k)
    assert CachedRecommender(cache, "newer", exclude_seen=True).recommend("anna", np.array([3, 5]), 4).source == "stale"
    keeping = CachedRecommender(cache, "m", exclude_seen=False)
    assert keeping.recommend("anna", np.array([3, 5, kept[0]]), 4).ids.tolist() == kept


def test_without_anybody_to_ask_it_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "x.npy"
    refresh(file, made(LISTS), "m", SumModel(), 4, exclude_seen=True)
    alone = CachedRecommender(TopKCache(file), "m", exclude_seen=True)
    for name, k in (("nobody", 2), ("anna", 5)):
        with pytest.raises(CacheError, match=f"{k} items for '{name}' are wanted; the cache keeps 4"):
            alone.recommend(name, np.array([3, 5]), k)


def test_fewer_items_than_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "x.npy"
    refresh(file, made({"all": list(range(1, N))}), "m", SumModel(), 4, exclude_seen=True)
    served = CachedRecommender(TopKCache(file), "m", exclude_seen=True).recommend("all", np.arange(1, N), 4)
    assert served.ids.tolist() == [N]


@pytest.mark.parametrize("content", [b"", b"not an array", "array"])
def test_another_file_is_refused_and_stays(tmp_path: Path, content: bytes | str) -> None:
    file = tmp_path / "x.npy"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        np.save(file, np.arange(3))
    before = file.read_bytes()
    with pytest.raises(CacheError, match="remove"):
        refresh(file, made(LISTS), "m", SumModel(), 4, exclude_seen=True)
    assert file.read_bytes() == before


def test_no_file() -> None:
    with pytest.raises(FileNotFoundError, match="users=all"):
        TopKCache("nowhere.npy")


def test_two_users_of_one_name(tmp_path: Path) -> None:
    twice = Histories(["a", "a"], np.array([1, 2]), np.array([3]), np.array([0, 1, 1]))
    with pytest.raises(CacheError, match="share a name"):
        refresh(tmp_path / "x.npy", twice, "m", SumModel(), 4, exclude_seen=True)
    assert not list(tmp_path.iterdir())


@given(st.lists(st.integers(1, 3), max_size=4), st.lists(st.integers(1, 3), max_size=4))
def test_a_key_tells_histories_apart(first: list[int], second: list[int]) -> None:
    one, two = (history_key("m", "u", np.array(items, np.int32)) for items in (first, second))
    assert (one == two) == (first == second)
    assert one == history_key("m", "u", np.array(first, np.int64))
    assert one not in (0, history_key("m", "v", np.array(first)), history_key("n", "u", np.array(first)))
