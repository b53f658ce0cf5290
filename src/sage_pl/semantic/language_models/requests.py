"""Many slow requests at once, without losing an answer."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from typing import Generic, TypeVar

from sage_pl.ranges import Count

log = logging.getLogger(__name__)

T = TypeVar("T")

GRACE = 5.0  # seconds for the requests under way after Ctrl-C
TICK = 0.05  # seconds between two checks of the deadline


class Requests(Generic[T]):
    """Iterates once over ``(row, ask(row))`` for row = 0, 1, ..., count - 1, in the order of the answers.

    At most ``concurrency`` requests are under way or answered and not yet yielded: an answer that is never read costs nothing.

    What ends the iteration early (an exception in ``ask``, :meth:`end`, Ctrl-C) is stored as ``failure``; the caller raises it
    after storing the answers. No request starts after it, and the answers to those under way are still yielded, after Ctrl-C
    for ``GRACE`` seconds. A second Ctrl-C interrupts at once. Ctrl-C is handled in the main thread, where Python's default
    handler is installed.

    Args:
        ask: called in other threads.
        count: number of requests.
        concurrency: requests at once.
    """

    def __init__(self, ask: Callable[[int], T], count: Count, concurrency: Count) -> None:
        self.failure: BaseException | None = None
        self._ask = ask
        self._rows = iter(range(count))
        self._concurrency = concurrency
        self._deadline = float("inf")
        self._pending: dict[Future[T], int] = {}

    def end(self, failure: BaseException) -> None:
        """Start no further request; the first failure is stored."""
        self.failure = self.failure or failure

    def __iter__(self) -> Iterator[tuple[int, T]]:
        with _interrupts_call(self._interrupted):
            self._start()
            while self._pending and time.monotonic() < self._deadline:
                for answer in wait(self._pending, TICK, FIRST_COMPLETED).done:
                    row = self._pending.pop(answer)
                    if error := answer.exception():
                        self.end(error)
                        continue
                    self._start()
                    yield row, answer.result()

    def _start(self) -> None:
        """Start requests up to ``concurrency``, in daemon threads: a pool's would keep the process alive after Ctrl-C."""
        while self.failure is None and len(self._pending) < self._concurrency:
            row = next(self._rows, None)
            if row is None:
                return
            answer: Future[T] = Future()
            self._pending[answer] = row
            threading.Thread(target=_resolve, args=(answer, self._ask, row), daemon=True).start()

    def _interrupted(self) -> None:
        log.warning("interrupted; waiting for the answers under way, up to %.0f s (Ctrl-C: not at all)", GRACE)
        self._deadline = time.monotonic() + GRACE
        self.end(KeyboardInterrupt())


def _resolve(answer: Future[T], ask: Callable[[int], T], row: int) -> None:
    try:
        answer.set_result(ask(row))
    except BaseException as error:  # noqa: BLE001 - the caller raises it
        answer.set_exception(error)


@contextmanager
def _interrupts_call(handle: Callable[[], None]) -> Iterator[None]:
    """The first Ctrl-C calls ``handle``; later ones interrupt."""
    default = signal.default_int_handler
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) is not default:
        yield
        return

    def once(*_: object) -> None:
        signal.signal(signal.SIGINT, default)
        handle()

    signal.signal(signal.SIGINT, once)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, default)
