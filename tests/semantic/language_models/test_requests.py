import itertools
import signal
import threading
import time

import pytest

from sage_pl.semantic.language_models import requests as module
from sage_pl.semantic.language_models.requests import Requests


@pytest.fixture(autouse=True)
def interruptible():
    """Whoever runs the tests may handle Ctrl-C otherwise."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.signal(signal.SIGINT, before) is signal.default_int_handler


def test_every_row_is_answered_once_and_so_many_are_under_way() -> None:
    together = threading.Barrier(3)

    def ask(row: int) -> int:
        together.wait(10)  # fails with fewer than three under way
        return row * row

    asked = Requests(ask, 30, 3)
    assert sorted(asked) == [(row, row * row) for row in range(30)]
    assert asked.failure is None
    assert not list(Requests(ask, 0, 3))


def test_after_a_failure_nothing_is_begun_and_what_is_under_way_comes() -> None:
    together, failed, begun = threading.Barrier(4), threading.Event(), []

    def ask(row: int) -> int:
        begun.append(row)
        together.wait(10)
        if row == 2:
            failed.set()
            raise KeyError("unforeseen")
        assert failed.wait(10)
        time.sleep(0.1)
        return row

    asked = Requests(ask, 100, 4)
    assert sorted(asked) == [(0, 0), (1, 1), (3, 3)]
    assert isinstance(asked.failure, KeyError)
    assert begun == [0, 1, 2, 3]


@pytest.mark.parametrize("end", ["Ctrl-C", "caller"])
def test_answers_come_after_an_end_from_outside(end) -> None:
    """Ctrl-C hits the caller, who is keeping an answer: neither that nor one under way is lost."""
    ended, begun, kept = threading.Event(), itertools.count(), []

    def ask(row: int) -> int:
        next(begun)
        if row > 0:
            assert ended.wait(10)
        return row

    asked = Requests(ask, 100, 4)
    for row, _ in asked:
        if not ended.is_set():
            time.sleep(0.1)  # rows 1 to 4 are under way
            signal.raise_signal(signal.SIGINT) if end == "Ctrl-C" else asked.end(OSError("enough"))
            ended.set()
        kept.append(row)
    assert sorted(kept) == [0, 1, 2, 3, 4]
    assert next(begun) == 5
    assert isinstance(asked.failure, KeyboardInterrupt if end == "Ctrl-C" else OSError)


def test_ctrl_c_does_not_wait_for_long(monkeypatch) -> None:
    monkeypatch.setattr(module, "GRACE", 0.2)
    never = threading.Event()
    asked = Requests(lambda row: row == 0 or never.wait(10), 2, 2)
    started = time.monotonic()
    for _ in asked:
        signal.raise_signal(signal.SIGINT)
    assert 0.2 <= time.monotonic() - started < 5
    assert isinstance(asked.failure, KeyboardInterrupt)
    never.set()


def test_a_second_ctrl_c_does_not_wait_at_all() -> None:
    never = threading.Event()
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - it comes in the middle
        for _ in Requests(lambda row: row == 0 or never.wait(10), 2, 2):
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
    never.set()


def test_who_handles_ctrl_c_otherwise_keeps_it() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asked = Requests(lambda row: row, 1, 1)
    for _ in asked:
        signal.raise_signal(signal.SIGINT)
    assert asked.failure is None
    assert signal.signal(signal.SIGINT, signal.default_int_handler) is signal.SIG_IGN


def test_an_abandoned_iteration_begins_no_more() -> None:
    begun = []
    for _ in Requests(lambda row: begun.append(row) or time.sleep(0.01), 1000, 2):
        break
    time.sleep(0.1)
    assert len(begun) < 20


def test_questions_do_not_run_ahead_of_who_looks_at_the_answers() -> None:
    begun: list[int] = []
    for looked, _ in enumerate(Requests(begun.append, 30, 3), start=1):
        time.sleep(0.01)
        assert len(begun) <= looked + 3
    assert looked == 30


def test_another_thread_may_ask() -> None:
    answers: list = []
    thread = threading.Thread(target=lambda: answers.extend(Requests(lambda row: row, 3, 2)))
    thread.start()
    thread.join(10)
    assert sorted(answers) == [(0, 0), (1, 1), (2, 2)]
