"""Micro-batches: whatever waits when the model becomes free is answered at once."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from sage_pl.service.generation import Query
from sage_pl.serving import Recommendation

Ranked = list[Recommendation]


class BusyError(Exception):
    """More queries wait than the server may hold."""


class Batcher:
    """Answers queries on one thread, which alone runs the model.

    A query that comes while the model is free is answered alone and immediately. Those that come meanwhile form the next batch,
    so batches grow with the load and no query waits for others to come.

    Args:
        most: queries of a batch.
        waiting: queries that wait at most.
        on_batch: called with the size of each batch.
    """

    def __init__(self, most: int, waiting: int, on_batch: Callable[[int], object] = lambda size: None) -> None:
        self._most = most
        self._waiting = waiting
        self._on_batch = on_batch
        self._queue: deque[tuple[Query, asyncio.Future[Ranked]]] = deque()
        self._wake = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Answer what waits, then end the thread."""
        while self._queue:
            await asyncio.sleep(0.01)
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        self._thread.shutdown()

    async def ask(self, query: Query) -> Ranked:
        """The list of a query.

        Raises:
            BusyError: too many wait.
        """
        if len(self._queue) >= self._waiting:
            raise BusyError(f"{self._waiting} queries wait already; send this one again in a second")
        future: asyncio.Future[Ranked] = asyncio.get_running_loop().create_future()
        self._queue.append((query, future))
        self._wake.set()
        return await future

    async def call(self, function: Callable[..., Ranked], *arguments: object) -> Ranked:
        """A call of the model that is no query, between two batches."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._wake.wait()
            self._wake.clear()
            while batch := self._next():
                queries = [query for query, _ in batch]
                self._on_batch(len(batch))
                try:
                    answers: Sequence[Ranked] = await loop.run_in_executor(
                        self._thread, queries[0].generation.rank, queries
                    )
                except Exception as error:  # noqa: BLE001 - it belongs to those who asked; the next batch is answered
                    for _, future in batch:
                        if not future.done():
                            future.set_exception(error)
                else:
                    for (_, future), answer in zip(batch, answers, strict=True):
                        if not future.done():
                            future.set_result(answer)

    def _next(self) -> list[tuple[Query, asyncio.Future[Ranked]]]:
        """The oldest query with those of its kind; one whose client has gone is dropped."""
        batch: list[tuple[Query, asyncio.Future[Ranked]]] = []
        others: list[tuple[Query, asyncio.Future[Ranked]]] = []
        while self._queue and len(batch) < self._most:
            entry = self._queue.popleft()
            if entry[1].done():
                continue
            (batch if not batch or entry[0].kind == batch[0][0].kind else others).append(entry)
        self._queue.extendleft(reversed(others))
        return batch
