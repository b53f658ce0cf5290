"""Many slow questions asked at once, without losing an answer."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")

GRACE = 5.0  # seconds for the questions under way after Ctrl-C
TICK = 0.05  # seconds between looks at the clock


class Questions(Generic[T]):
    """Iterates over ``(row, ask(row))`` for row = 0, 1, ..., count - 1, as the answers come. To be iterated over once.

    No more than ``concurrency`` questions are ahead of whoever iterates, so that what is not looked at is not paid for.

    What ends it early (an exception in ``ask``, :meth:`end`, Ctrl-C) is not raised but kept as ``failure``, for the caller to
    raise once the answers are safe: no question is begun any more, and the answers to those under way still come, after Ctrl-C
    for ``GRACE`` seconds. A second Ctrl-C interrupts at once. So it is in the main thread, where nobody else handles Ctrl-C.

    Args:
        ask: called in other threads.
        count: number of questions.
        concurrency: questions under way, or answered and not yet looked at, at once.
    """

    def __init__(self, ask: Callable[[int], T], count: int, concurrency: int) -> None:
        self.failure: BaseException | None = None
        self._ask = ask
        self._rows = iter(range(count))
        self._ended = False
        self._deadline = float("inf")
        self._answers: SimpleQueue[tuple[int, T]] = SimpleQueue()
        self._places = threading.Semaphore(concurrency)  # one for each question until its answer is looked at
        # daemons: after Ctrl-C the process must not wait for them
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(min(concurrency, count))]

    def end(self, failure: BaseException) -> None:
        """Begin no further question; the first failure is kept."""
        self._ended = True
        self.failure = self.failure or failure

    def __iter__(self) -> Iterator[tuple[int, T]]:
        with _interrupts_call(self._interrupted):
            try:
                for thread in self._threads:
                    thread.start()
                while any(thread.is_alive() for thread in self._threads) or not self._answers.empty():
                    try:
                        answer = self._answers.get(timeout=TICK)
                    except Empty:
                        if time.monotonic() > self._deadline:
                            return
                        continue
                    self._places.release()
                    yield answer
            finally:
                self._ended = True
                for _ in self._threads:  # nobody waits for ever
                    self._places.release()

    def _work(self) -> None:
        try:
            while self._places.acquire() and not self._ended:
                row = next(self._rows, None)  # all threads share the iterator
                if row is None:
                    return
                self._answers.put((row, self._ask(row)))
        except BaseException as error:  # noqa: BLE001 - of whatever kind, the caller raises it
            self.end(error)

    def _interrupted(self) -> None:
        log.warning("interrupted; answers under way are waited for, up to %.0f s (Ctrl-C: not at all)", GRACE)
        self._deadline = time.monotonic() + GRACE
        self.end(KeyboardInterrupt())


@contextmanager
def _interrupts_call(handle: Callable[[], None]) -> Iterator[None]:
    """The first Ctrl-C calls ``handle``; those after it interrupt as ever."""
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        yield
        return

    def once(*_: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        handle()

    signal.signal(signal.SIGINT, once)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
