"""Micro-batches: alone at once, together under load, by kind, and no client waits for another's error."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from sage_pl.service.batching import Batcher, BusyError
from sage_pl.service.generation import Query
from sage_pl.serving import Recommendation


class Slow:
    """Answers a query by its first item, after a while."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def rank(self, queries: list[Query]) -> list[list[Recommendation]]:
        self.sizes.append(len(queries))
        time.sleep(0.02)
        if any(query.items[0] < 0 for query in queries):
            raise ValueError("negative")
        return [[Recommendation(str(query.items[0]), "", 0.0)] for query in queries]


def query(model: Any, item: int, mask: bool = True) -> Query:
    return Query(model, [item], 0, 1, mask)


def run(work: Any, **settings: int) -> tuple[Slow, Any]:
    async def main() -> Any:
        batcher = Batcher(**{"most": 64, "waiting": 100, **settings})
        batcher.start()
        result = await work(batcher, model)
        await batcher.stop()
        return result

    model = Slow()
    return model, asyncio.run(main())


def test_what_waits_is_answered_together_and_in_its_place() -> None:
    async def work(batcher: Batcher, model: Any) -> Any:
        return await asyncio.gather(*(batcher.ask(query(model, item, item % 2 == 0)) for item in range(20)))

    model, answers = run(work)
    assert [answer[0].id for answer in answers] == [str(item) for item in range(20)]
    assert sorted(model.sizes) == [10, 10], "one batch of each kind"
    assert run(work, most=4)[0].sizes == [4, 4, 2, 4, 4, 2] or max(run(work, most=4)[0].sizes) == 4


def test_an_error_belongs_to_its_batch() -> None:
    async def work(batcher: Batcher, model: Any) -> Any:
        first = await asyncio.gather(batcher.ask(query(model, -1)), return_exceptions=True)
        return first, await batcher.ask(query(model, 3))

    _, (errors, answer) = run(work)
    assert isinstance(errors[0], ValueError)
    assert answer[0].id == "3"


def test_too_many_are_refused_and_one_whose_client_left_is_dropped() -> None:
    async def work(batcher: Batcher, model: Any) -> Any:
        asked = [asyncio.create_task(batcher.ask(query(model, item))) for item in range(4)]
        await asyncio.sleep(0)
        with pytest.raises(BusyError, match="wait already"):
            await batcher.ask(query(model, 9))
        asked[1].cancel()
        return await asyncio.gather(*asked, return_exceptions=True)

    model, answers = run(work, waiting=4)
    assert sum(model.sizes) == 3
    assert isinstance(answers[1], asyncio.CancelledError)
