"""What all sides of the comparison share: one file of events, one clock, one scorer. Needs the standard library and NumPy.

Every side runs in an environment of its own, reads the same ``events.csv`` and answers with ``result.json`` and ``top.npy``.
"""

from __future__ import annotations

import importlib.metadata
import json
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
TRAIN, VALID, TEST = 0, 1, 2
HEADER = "user,item,position,part"


class Prepared(Protocol):
    """What is read of :class:`sage_pl.data.sequences.Sequences`."""

    values: Any
    offsets: Any
    train_end: Any
    valid: Any
    test: Any


class Events(NamedTuple):
    """All events, by user and then oldest first; items are 1..N."""

    user: IntArray
    item: IntArray
    position: IntArray
    part: IntArray  # TRAIN, VALID or TEST

    def where(self, chosen: npt.NDArray[np.bool_]) -> Events:
        return Events(*(column[chosen] for column in self))

    @property
    def train(self) -> Events:
        return self.where(self.part == TRAIN)

    @property
    def history(self) -> Events:
        """All that is known when the test item is predicted."""
        return self.where(self.part != TEST)

    @property
    def test(self) -> Events:
        """The test cases, one a user, by user."""
        return self.where(self.part == TEST)

    def sequences(self) -> tuple[IntArray, list[IntArray]]:
        """Users and the items of each, oldest first."""
        users, starts = np.unique(self.user, return_index=True)
        return users, np.split(self.item, starts[1:])


def write_events(sequences: Prepared, file: Path) -> None:
    """The prepared leave-one-out split as ``user,item,position,part``.

    Raises:
        ValueError: an event is neither in the training part nor a case, or stands before one that is trained on.
    """
    lengths = np.diff(sequences.offsets)
    user = np.repeat(np.arange(len(lengths)), lengths)
    position = np.arange(len(user)) - np.repeat(sequences.offsets[:-1], lengths)
    part = np.where(position < sequences.train_end[user], TRAIN, -1)
    for name, cases in ((VALID, sequences.valid), (TEST, sequences.test)):
        part[sequences.offsets[cases.user] + cases.at] = name
    if (part < 0).any() or (np.diff(part)[np.diff(user) == 0] < 0).any():
        raise ValueError(
            "the events are not split into training, validation and test case in order; use split=leave_one_out"
        )
    table = np.stack([user, sequences.values, position, part], axis=1)
    np.savetxt(file, table, fmt="%d", delimiter=",", header=HEADER, comments="")


def read_events(file: str | Path) -> Events:
    """What :func:`write_events` wrote."""
    return Events(*np.loadtxt(file, dtype=np.int64, delimiter=",", skiprows=1, unpack=True, ndmin=2))


def score(top: IntArray, events: Events) -> dict[str, float]:
    """``HR@k = mean 1[rank <= k]`` and ``NDCG@k = mean 1[rank <= k] / log2(1 + rank)`` of lists of k items.

    Args:
        top: [K, k] the best items of each test user, best first, 0 where a side names none; users as in ``events.test``.
        events: the split, whose histories must not be recommended: an answer that repeats its history is a miss.

    Raises:
        ValueError: another number of lists than of test users, an item twice in a list, or one the user has seen.
    """
    cases, history = events.test, events.history
    if len(top) != len(cases.user):
        raise ValueError(f"{len(top)} lists for {len(cases.user)} test users")
    ordered = np.sort(top, axis=1)
    if ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] > 0)).any():
        raise ValueError("a list names an item twice")
    names = max(int(events.item.max()), int(top.max())) + 1
    if np.isin(cases.user[:, None] * names + top, history.user * names + history.item).any():
        raise ValueError("a list names an item of the user's history")
    hit = top == cases.item[:, None]
    gain = 1 / np.log2(np.arange(2, top.shape[1] + 2))
    return {f"hr@{top.shape[1]}": float(hit.any(1).mean()), f"ndcg@{top.shape[1]}": float((hit * gain).sum(1).mean())}


class Clock:
    """Measures one piece of work at a time, each when the driver says so, so that all sides take turns.

    ``begin`` says ``@ ready`` and waits for a line on standard input; ``end`` prints ``@ <kind> <seconds>``. Seconds of the
    processor are kept beside those of the clock: they tell what a side needs on a machine that is shared. In an epoch of
    limited steps ``first_step_ended`` begins anew, so that what an epoch costs once is not taken for the cost of its steps.

    Args:
        settings: of this side.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        self.limited = settings["limit"] is not None
        self.seconds: dict[str, list[float]] = {}
        self.processor: dict[str, list[float]] = {}
        self._start = (0.0, 0.0)

    def begin(self) -> None:
        print("\n@ ready", flush=True)
        if not sys.stdin.readline():
            sys.exit("the driver is gone; by hand: yes '' | python train_NAME.py SETTINGS.json")
        self._start = time.perf_counter(), time.process_time()

    def first_step_ended(self) -> None:
        if self.limited:
            self._start = time.perf_counter(), time.process_time()

    def end(self, kind: str) -> None:
        seconds, processor = time.perf_counter() - self._start[0], time.process_time() - self._start[1]
        self.seconds.setdefault(kind, []).append(seconds)
        self.processor.setdefault(kind, []).append(processor)
        print(f"\n@ {kind} {seconds:.3f}", flush=True)

    def __deepcopy__(self, memo: dict[int, Any]) -> Clock:
        return self  # a trainer that is copied goes on with the same clock


def batches(settings: dict[str, Any]) -> int | float:
    """How many an epoch of this side has, for Lightning: all, or the limit and one before, which is not counted."""
    return 1.0 if settings["limit"] is None else settings["limit"] + 1


def read_settings() -> dict[str, Any]:
    """The settings this side is run with: a JSON file named on the command line."""
    return json.loads(Path(sys.argv[1]).read_text())


def finish(
    settings: dict[str, Any], clock: Clock, recommend: Callable[[], IntArray], steps: int, about: Sequence[str]
) -> None:
    """Recommend in turns, then write the lists and what was measured.

    Args:
        settings: of this side.
        clock: holds the seconds of the rounds of training.
        recommend: makes the lists of all test users, [K, k].
        steps: training steps of a whole epoch.
        about: packages whose versions are told.
    """
    for _ in range(settings["recommend_rounds"]):
        clock.begin()
        top = recommend()
        clock.end("recommend")
    folder = Path(settings["folder"])
    np.save(folder / "top.npy", top)
    result = {
        "seconds": clock.seconds,
        "processor": clock.processor,
        "steps": steps,
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "versions": {name: importlib.metadata.version(name) for name in about},
    }
    (folder / "result.json").write_text(json.dumps(result, indent=2))
