"""What a server says of its export and of the items that were added to it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from sage_pl.errors import SettingError
from sage_pl.service import live as following
from sage_pl.service.live import Live
from sage_pl.service.state import AddedItem


def test_a_problem_of_added_items_ends_with_the_export_that_takes_them() -> None:
    live: Any = object.__new__(Live)
    live._problems, live._place = {}, 0
    live.store = SimpleNamespace(items_after=lambda place: [AddedItem(1, "new", {})])

    def refuse(items: object) -> None:
        raise SettingError("it generates codes")

    old: Any = SimpleNamespace(catalogue=SimpleNamespace(numbers={}), with_items=refuse)
    assert live._with_added(old) is old
    assert live.problem == "1 added items are not served: it generates codes"
    live._place = 0  # of a new export, all that was added counts again
    new: Any = SimpleNamespace(catalogue=SimpleNamespace(numbers={"new": 1}))
    assert live._with_added(new) is new
    assert live.problem is None


def test_memory_that_a_change_freed_is_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    live, after, returned = object.__new__(Live), object(), []
    monkeypatch.setattr(following, "return_freed_memory", lambda: returned.append(live.generation))
    live._replace(after)  # type: ignore[arg-type]
    assert returned == [after], "the former generation is gone by then"
