"""The comparison with other libraries: the exported split, the common scorer, and sides that take turns. Needs no library."""

from __future__ import annotations

import importlib
import io
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sage_pl.data.sequences import Cases, Sequences

PEERS = Path(__file__).parent.parent.parent / "benchmarks" / "peers"
SETTINGS = {"threads": 1, "seed": 0, "epochs": 3, "recommend_rounds": 2, "limit": 2, "k": 2}
SIDE = """
import sys
sys.path.insert(0, {peers!r})
import numpy as np
from exchange import Clock, finish, read_events, read_settings
settings = read_settings()
clock = Clock(settings)
if settings["model"] == "broken":
    sys.exit("Error: no such loss")
events = read_events(settings["events"])
for _ in range(settings["epochs"]):
    clock.begin()
    clock.first_step_ended()
    clock.end("epoch")
clock.seconds["epoch"] = [9.0, 1.0, 3.0]
finish(settings, clock, lambda: np.array([[4, 5], [1, 5]]), 6, ("numpy",))
"""


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(PEERS))
    names = ("exchange", "sides", "run", "steps", "measuring", "memory")
    yield importlib.import_module("exchange")
    for name in names:
        sys.modules.pop(name, None)


def split(train_end: list[int]) -> Sequences:
    """Users (1 2 1 3 4), (5 5) and (2 3 1); the last two events of the first and the third are held out."""
    users = np.array([1, 3])
    return Sequences(
        values=np.array([1, 2, 1, 3, 4, 5, 5, 2, 3, 1]),
        offsets=np.array([0, 0, 5, 7, 10]),
        train_end=np.array([0, *train_end]),
        valid=Cases(users, np.array([3, 1]), np.array([3, 3])),
        test=Cases(users, np.array([4, 2]), np.array([4, 1])),
        n_items=5,
    )


@pytest.fixture
def events(peers: ModuleType, tmp_path: Path) -> Any:
    peers.write_events(split([3, 2, 1]), tmp_path / "events.csv")
    return peers.read_events(tmp_path / "events.csv")


def test_the_export_holds_every_event_and_its_part(events: Any, tmp_path: Path) -> None:
    lines = (tmp_path / "events.csv").read_text().splitlines()
    assert lines[:6] == ["user,item,position,part", "1,1,0,0", "1,2,1,0", "1,1,2,0", "1,3,3,1", "1,4,4,2"]
    assert lines[6:] == ["2,5,0,0", "2,5,1,0", "3,2,0,0", "3,3,1,1", "3,1,2,2"]
    assert events.train.item.tolist() == [1, 2, 1, 5, 5, 2]
    assert events.test.user.tolist() == [1, 3]
    assert events.test.item.tolist() == [4, 1]
    users, lists = events.history.sequences()
    assert users.tolist() == [1, 2, 3]
    assert [items.tolist() for items in lists] == [[1, 2, 1, 3], [5, 5], [2, 3]]


@pytest.mark.parametrize("train_end", [[2, 2, 1], [3, 1, 1]], ids=["before a case", "without a case"])
def test_an_event_that_is_neither_trained_on_nor_held_out_is_refused(
    train_end: list[int], peers: ModuleType, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="use split=leave_one_out"):
        peers.write_events(split(train_end), tmp_path / "events.csv")


def test_scores_by_hand(events: Any, peers: ModuleType) -> None:
    """The first answer is third of three, the second is missed or first."""
    third = 1 / math.log2(4)
    assert peers.score(np.array([[5, 0, 4], [4, 5, 0]]), events) == {"hr@3": 0.5, "ndcg@3": pytest.approx(third / 2)}
    assert peers.score(np.array([[5, 0, 4], [1, 5, 4]]), events) == {
        "hr@3": 1.0,
        "ndcg@3": pytest.approx((1 + third) / 2),
    }
    assert peers.score(np.zeros((2, 3), dtype=np.int64), events) == {"hr@3": 0.0, "ndcg@3": 0.0}


@pytest.mark.parametrize(
    ("top", "message"),
    [
        ([[4, 5]], "1 lists for 2 test users"),
        ([[4, 4], [1, 5]], "an item twice"),
        ([[4, 3], [1, 5]], "of the user's history"),
    ],
)
def test_lists_that_are_not_comparable_are_refused(
    top: list[list[int]], message: str, events: Any, peers: ModuleType
) -> None:
    with pytest.raises(ValueError, match=message):
        peers.score(np.array(top), events)


@pytest.mark.slow
def test_sides_take_turns_and_a_broken_one_is_told_with_its_reason(
    events: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, sides = importlib.import_module("run"), importlib.import_module("sides")
    monkeypatch.setattr(sides, "HERE", tmp_path)
    (tmp_path / "train_ours.py").write_text(SIDE.format(peers=str(PEERS)))
    settings = {**SETTINGS, "events": str(tmp_path / "events.csv")}
    chosen = [sides.Side(name, "ours", name, "softmax") for name in ("fine", "broken")]
    fine, broken = run.measure(chosen, settings, events, tmp_path / "work")
    assert broken == {"side": "broken", "model": "broken", "loss": "softmax", "reason": "failed: Error: no such loss"}
    assert fine["epoch, s"] == 6 / 2 * 2.0  # the median of 1 and 3 s for 2 of 6 steps; the first round is not counted
    assert (fine["epoch, s, least"], fine["epoch, s, most"]) == (6 / 2 * 1.0, 6 / 2 * 3.0)
    assert fine["measured steps"] == 4
    assert len(fine["rounds, s"]["recommend"]) == 2
    assert "hr@2" not in fine, "after a few steps there is no quality to tell"
    (whole,) = run.measure(chosen[:1], {**settings, "limit": None}, events, tmp_path / "whole")
    assert (whole["epoch, s"], whole["hr@2"]) == (2.0, 1.0)


@pytest.mark.parametrize(("limit", "counted", "batches"), [(2, 3.0, 3), (None, 13.0, 1.0)], ids=["limited", "whole"])
def test_the_first_of_limited_steps_is_not_counted(
    limit: int | None, counted: float, batches: float, peers: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter([100.0, 110.0, 113.0] if limit else [100.0, 113.0])
    monkeypatch.setattr(peers, "time", SimpleNamespace(perf_counter=lambda: next(times), process_time=lambda: 0.0))
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n"))
    clock = peers.Clock({"limit": limit})
    clock.begin()
    clock.first_step_ended()
    clock.end("epoch")
    assert clock.seconds == {"epoch": [counted]}
    assert peers.batches({"limit": limit}) == batches
    assert type(peers.batches({"limit": limit})) is type(batches), "Lightning reads 1 as one batch and 1.0 as all"


def test_quality_over_seeds(peers: ModuleType) -> None:
    rows = [
        {"dataset": "tea", "model": "sasrec", "side": "ours", "hr@10": hit, "ndcg@10": 0.1} for hit in (0.1, 0.2, 0.3)
    ]
    rows += [{"dataset": "tea", "model": "sasrec", "side": "other", "hr@10": 0.5}, {"side": "broken", "reason": "why"}]
    found = importlib.import_module("run").quality(rows)
    assert found["tea sasrec ours"] == {"hr@10": pytest.approx((0.2, 0.1)), "ndcg@10": pytest.approx((0.1, 0.0))}
    assert len(found) == 1, "one seed has no spread"


@pytest.mark.slow
def test_a_library_that_cannot_be_installed_is_told_with_its_reason(
    peers: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, sides = importlib.import_module("run"), importlib.import_module("sides")
    monkeypatch.setattr(sides, "HERE", tmp_path / "benchmarks" / "peers")
    monkeypatch.setattr(sides, "ENVIRONMENTS", tmp_path / ".venv-peers")
    wanted = sides.HERE / "requirements" / "rectools.txt"
    wanted.parent.mkdir(parents=True)
    wanted.write_text("./nowhere\n")
    reason = run.why_not("rectools")
    assert reason.startswith("cannot be installed: ")
    assert "nowhere" in reason
    settings = {**run.SETTINGS, **SETTINGS}
    rows, _ = run.compare("sasrec", {"rectools": reason}, settings, None, tmp_path / "work")
    assert rows == [{"side": "RecTools", "model": "sasrec", "loss": rows[0]["loss"], "reason": reason}]


@pytest.mark.slow
def test_our_side_trains_and_recommends(peers: ModuleType, tmp_path: Path, small_settings: list[str]) -> None:
    run, sides = importlib.import_module("run"), importlib.import_module("sides")
    events = run.export(small_settings, tmp_path / "events.csv")
    small = {"dim": 8, "blocks": 1, "max_len": 8, "batch_size": 16, "k": 3, "limit": None}
    settings = {**run.SETTINGS, **SETTINGS, **small, "seed": 0, "events": "", "overrides": small_settings}
    ours = sides.Side("ours", "ours", "sasrec", "softmax")
    (row,) = run.measure([ours], settings, events, tmp_path / "work")
    assert len(row["rounds, s"]["epoch"]) == 3
    trained = np.bincount(events.train.user)
    assert row["steps"] == -(-int((trained > 1).sum()) // 16)
    assert 0 < row["ndcg@3"] <= row["hr@3"] <= 1
