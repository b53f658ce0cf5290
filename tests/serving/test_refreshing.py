"""Kept lists are made once per history and model, kept when work is interrupted, and made again where something changed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from sage_pl.serving import Histories, TopKCache, refresh
from sage_pl.serving.top_k_cache import CacheError
from tests.serving.summing import LISTS, ORIGIN, SumModel, made


def test_only_what_changed_is_made_again(tmp_path: Path) -> None:
    file = tmp_path / "x"
    refresh(file, made(LISTS), ORIGIN, SumModel(), 4)
    before = file.stat()
    again = SumModel()
    assert refresh(file, made(LISTS), ORIGIN, again, 4)[:2] == (0, 4)
    assert again.asked == []
    after = file.stat()  # reading changes the time of access
    assert (after.st_ino, after.st_size, after.st_mtime_ns) == (before.st_ino, before.st_size, before.st_mtime_ns)
    changed = {**LISTS, "ben": [7, 9], "emil": [8]}
    assert refresh(file, made(changed, new=("emil",)), ORIGIN, again, 4)[:2] == (2, 3)
    assert sorted(again.asked) == [[7, 9], [8]]
    whole = tmp_path / "whole"
    refresh(whole, made(changed, new=("emil",)), ORIGIN, SumModel(), 4)
    for column, wanted in zip(TopKCache(file).lists, TopKCache(whole).lists, strict=True):
        np.testing.assert_array_equal(column, wanted)
    assert refresh(file, made(changed), ORIGIN, SumModel(), 5).new == 5
    del changed["cleo"]
    assert refresh(file, made(changed), ORIGIN, SumModel(), 5)[:2] == (0, 4)
    assert len(TopKCache(file)) == 4


@pytest.mark.parametrize("what", ["checkpoint", "tokens", "exclude_seen"])
def test_lists_of_another_origin_are_all_made_again(what: str, tmp_path: Path) -> None:
    """Item codes among them: the key of the artifact is part of the model's name."""
    origin = {
        "checkpoint": dataclasses.replace(ORIGIN, model={**ORIGIN.model, "checkpoint": "other"}),
        "tokens": dataclasses.replace(ORIGIN, model={**ORIGIN.model, "artifacts": {"sequences": "s", "tokens": "new"}}),
        "exclude_seen": dataclasses.replace(ORIGIN, exclude_seen=False),
    }[what]
    refresh(tmp_path / "x", made(LISTS), ORIGIN, SumModel(), 4)
    assert refresh(tmp_path / "x", made(LISTS), origin, SumModel(), 4)[:2] == (4, 0)
    assert TopKCache(tmp_path / "x").origin == origin


def test_an_open_cache_stays_as_it_is(tmp_path: Path) -> None:
    refresh(tmp_path / "x", made(LISTS), ORIGIN, SumModel(), 4)
    cache = TopKCache(tmp_path / "x")
    before = cache.lists.ids.copy()
    refresh(tmp_path / "x", made({**LISTS, "ben": [9]}), ORIGIN, SumModel(), 4)
    np.testing.assert_array_equal(cache.lists.ids, before)
    assert not np.array_equal(TopKCache(tmp_path / "x").lists.ids, before)


def test_interrupted_work_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "x"
    with pytest.raises(KeyboardInterrupt):
        refresh(file, made(LISTS), ORIGIN, SumModel(fail_after=2), 4, batch_size=1)
    assert len(TopKCache(file)) == 2
    assert refresh(file, made(LISTS), ORIGIN, SumModel(), 4)[:2] == (2, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_interrupted_work_by_a_newer_model(tmp_path: Path) -> None:
    """What is left of the old one stays, and does not count as the newer one's."""
    file, newer = tmp_path / "x", dataclasses.replace(ORIGIN, model={"checkpoint": "newer"})
    refresh(file, made(LISTS), ORIGIN, SumModel(), 4)
    with pytest.raises(KeyboardInterrupt):
        refresh(file, made(LISTS), newer, SumModel(fail_after=1), 4, batch_size=1)
    cache, histories = TopKCache(file), made(LISTS)
    keys = {cache.lists.keys[cache.row(name)] for name in histories.names}
    of_newer = {newer.key(name, histories[row]) for row, name in enumerate(histories.names)}
    assert (cache.origin, len(cache), len(keys & of_newer)) == (newer, 4, 1)
    assert refresh(file, made(LISTS), newer, SumModel(), 4)[:2] == (3, 1)


def test_work_that_failed_at_once_leaves_the_file(tmp_path: Path) -> None:
    refresh(tmp_path / "x", made(LISTS), ORIGIN, SumModel(), 4)
    before = (tmp_path / "x").read_bytes()
    with pytest.raises(KeyboardInterrupt):
        refresh(tmp_path / "x", made({"anna": [9]}), ORIGIN, SumModel(fail_after=0), 4)
    assert (tmp_path / "x").read_bytes() == before


def test_another_file_is_refused_and_stays(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(3))
    before = (tmp_path / "x.npy").read_bytes()
    with pytest.raises(CacheError, match="remove"):
        refresh(tmp_path / "x.npy", made(LISTS), ORIGIN, SumModel(), 4)
    assert (tmp_path / "x.npy").read_bytes() == before


def test_two_users_of_one_name(tmp_path: Path) -> None:
    twice = Histories(["a", "a"], np.array([1, 2]), np.array([3]), np.array([0, 1, 1]))
    with pytest.raises(CacheError, match="share a name"):
        refresh(tmp_path / "x", twice, ORIGIN, SumModel(), 4)
    assert not list(tmp_path.iterdir())
