"""What a server says of its export, its store and the items that were added to it."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sage_pl.errors import SettingError
from sage_pl.service import live as following
from sage_pl.service.generation import Generation, Query
from sage_pl.service.live import Live
from sage_pl.service.state import AddedItem
from tests.service.conftest import HISTORY, TEA


def test_a_problem_of_added_items_ends_with_the_export_that_takes_them() -> None:
    live: Any = object.__new__(Live)
    live._problems, live._place = {}, 0
    live.store = SimpleNamespace(items_after=lambda place: [AddedItem(1, "new", {})])

    def refuse(items: object) -> None:
        raise SettingError("it generates codes")

    old: Any = SimpleNamespace(catalogue=SimpleNamespace(numbers={}), with_items=refuse)
    assert live._with_added(old) is old
    assert live.problem == "1 of 1 added items are not served: it generates codes"
    live._place = 0  # of a new export, all that was added counts again
    new: Any = SimpleNamespace(catalogue=SimpleNamespace(numbers={"new": 1}))
    assert live._with_added(new) is new
    assert live.problem is None


def test_added_items_that_fit_are_served_beside_some_that_do_not() -> None:
    class Export:
        """Takes items with a text."""

        def __init__(self, numbers: dict[str, int]) -> None:
            self.catalogue = SimpleNamespace(numbers=numbers)

        def with_items(self, items: Any) -> Export:
            if bare := [item for item, texts in items if not texts]:
                raise SettingError(f"{bare[0]} has no text")
            return Export({**self.catalogue.numbers, **{item: 1 for item, _ in items}})

    added = [AddedItem(place, name, {"title": name} if name > "b" else {}) for place, name in enumerate("cadbe", 1)]
    live: Any = object.__new__(Live)
    live._problems, live._place = {}, 0
    live.store = SimpleNamespace(items_after=lambda place: added)
    served = live._with_added(Export({"old": 1}))
    assert list(served.catalogue.numbers) == ["old", "c", "d", "e"]
    assert live.problem == "2 of 5 added items are not served: a has no text"


def test_memory_that_a_change_freed_is_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    live, after, returned = object.__new__(Live), object(), []
    monkeypatch.setattr(following, "return_freed_memory", lambda: returned.append(live.generation))
    live._replace(after)  # type: ignore[arg-type]
    assert returned == [after], "the former generation is gone by then"


def test_a_store_that_fails_is_said_and_holds_up_nothing_else(
    client: Callable[..., Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Locked by another process, without its table, removed: 503 in one sentence, and lists of histories go on."""
    monkeypatch.setattr("sage_pl.service.state._PATIENCE", 0.5)
    served, file = client(), folder.with_suffix(".db")
    body = {"events": [{"user_id": "u", "item_id": "1"}]}
    assert served.post("/events", json=body).status_code == 200

    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with ThreadPoolExecutor(12) as several:
        writes = [several.submit(served.post, "/events", json=body) for _ in range(12)]
        start = time.monotonic()
        assert served.get("/health").json()["status"] == "ok"
        assert served.post("/recommend", json={"user": "u"}).status_code == 200
        assert time.monotonic() - start < 2, "threads that wait for the lock are others"
        answer = writes[0].result()
        assert (answer.status_code, "database is locked" in answer.json()["detail"]) == (503, True), answer.text
        other.execute("ROLLBACK")

    other.execute("ALTER TABLE events RENAME TO elsewhere")
    for path, request in (("/events", body), ("/recommend", {"user": "u"})):
        answer = served.post(path, json=request)
        assert (answer.status_code, "no such table" in answer.json()["detail"]) == (503, True), answer.text
    assert served.get("/health").json()["status"] == "degraded"
    other.execute("ALTER TABLE elsewhere RENAME TO events")
    other.close()

    file.rename(file.with_name("gone.db"))
    for path, request in (("/events", body), ("/items", {"items": [{"item_id": "900", "title": TEA}]})):
        answer = served.post(path, json=request)
        assert (answer.status_code, "was removed or replaced" in answer.json()["detail"]) == (503, True), answer.text
    _until(lambda: served.get("/health").json()["status"] == "degraded")
    assert served.post("/recommend", json={"history": HISTORY}).status_code == 200
    file.with_name("gone.db").rename(file)
    _until(lambda: served.get("/health").json()["status"] == "ok")
    assert served.post("/events", json=body).json()["added"] == 1


def test_an_export_that_is_copied_over_is_read_when_it_is_whole(
    client: Callable[..., Any], folder: Path, exports: list[Path]
) -> None:
    served = client()
    before = served.get("/health").json()["model"]
    new = exports[1] / "items" / "output.npy"
    shutil.copy(exports[1] / "manifest.json", folder)
    _until(lambda: served.get("/health").json()["status"] == "degraded")
    shutil.copy(new, folder / "items" / "part")
    (folder / "items" / "part").rename(folder / "items" / "output.npy")
    _until(lambda: served.get("/health").json()["status"] == "ok")
    assert served.get("/health").json()["model"] != before


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_table_of_new_items_has_few_columns(client: Callable[..., Any]) -> None:
    item = {"item_id": "900", "title": TEA, **{f"c{number}": "" for number in range(70)}}
    answer = client().post("/items", json={"items": [item]})
    assert answer.status_code == 422
    assert "71 different columns, wanted at most 64" in answer.json()["detail"]


def test_a_long_history_takes_no_more_memory_than_the_items(folder: Path) -> None:
    model = Generation.of(folder)
    history = [1 + place % 30 for place in range(5000)]
    whole = model.exported.recommend([str(model.catalogue.ids[row]) for row in history], 10)
    seen: list[Any] = []
    recommend = model.network.recommend
    model.network.recommend = lambda items, *others: seen.append(items) or recommend(items, *others)
    for exclude_seen, most in ((True, 30 + model.network.max_len), (False, model.network.max_len)):
        query = Query(model, history, 0, 10, exclude_seen)
        (answer,) = model.rank([query])
        assert seen.pop().shape[1] <= most
        if exclude_seen == (model.catalogue.seen == "mask"):
            assert [item.id for item in answer] == [item.id for item in whole]
            assert [item.score for item in answer] == pytest.approx([item.score for item in whole], rel=1e-5)


def test_one_of_many_adds_an_item(client: Callable[..., Any]) -> None:
    """Two processes' worth of servers over one store, asked at once: one addition, and the others learn of it."""
    both = [client(), client()]
    both[0].post("/items", json={"items": [{"item_id": "first", "title": TEA}]})
    with ThreadPoolExecutor(8) as several:
        additions = [
            several.submit(both[n % 2].post, "/items", json={"items": [{"item_id": "900", "title": TEA}]})
            for n in range(8)
        ]
        statuses = sorted(one.result().status_code for one in additions)
    assert statuses == [200] + [409] * 7
    for served in both:
        served.post("/recommend", json={"history": ["900", "first"]})
        assert served.get("/health").json()["items"] == 42
