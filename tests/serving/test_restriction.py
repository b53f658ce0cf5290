"""Ids and lengths of lists as users give them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sage_pl.errors import SettingError
from sage_pl.serving.restriction import allowed_rows, item_rows, list_length

NUMBERS = {"a": 1, "b": 2, "3": 3}


@pytest.mark.parametrize("ids", [["b", 3], ("b", "3"), np.array(["b", "3"]), (one for one in ["b", 3])])
def test_ids_are_a_list_an_array_or_any_series(ids: Any) -> None:
    assert item_rows(NUMBERS, ids) == [2, 3]


def test_arrays_restrict_as_lists_do() -> None:
    nothing, some = np.array([], str), np.array(["a", "b"])
    assert allowed_rows(NUMBERS, some, ["b"]) == [False, True, False, False, False]  # type: ignore[arg-type]
    assert allowed_rows(NUMBERS, None, nothing) == [True] * 5  # type: ignore[arg-type]


@pytest.mark.parametrize("ids", ["a", 3, None])
def test_what_is_no_list_is_named(ids: Any) -> None:
    with pytest.raises(SettingError, match="items are a list of ids, got the"):
        item_rows(NUMBERS, ids)


def test_a_list_is_as_long_as_there_are_items() -> None:
    assert [list_length(k, 3) for k in (1, np.int64(2), 10**20)] == [1, 2, 3]


@pytest.mark.parametrize("k", [0, -1, 2.0, "3", True, None, float("nan")])
def test_another_length_is_refused(k: Any) -> None:
    with pytest.raises(SettingError, match="k must be at least 1 and a whole number, got"):
        list_length(k, 3)
