"""How the benchmarks measure: cases that take turns, the floor on a GPU, when a command has begun."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"
CASE = f"""
import sys, time
sys.path.insert(0, {str(BENCHMARKS)!r})
from measuring import serve
if sys.argv[1] == "broken":
    sys.exit("no such case")
times = []
def work():
    print("said to nobody")
    times.append(time.time())
    time.sleep(float(sys.argv[1]))
serve(lambda: (work, lambda: {{"times": times}}))
"""


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield importlib.import_module
    for name in ("measuring", "memory", "flops", "steps", "gpu", "startup"):
        sys.modules.pop(name, None)


def test_cases_take_turns(load: Callable[[str], ModuleType], tmp_path: Path) -> None:
    (tmp_path / "case.py").write_text(CASE)
    commands = {name: [str(tmp_path / "case.py"), name] for name in ("0.05", "0.001")}
    found, one = load("measuring").take_turns(commands, rounds=3)
    slow, fast = found["0.05"], found["0.001"]
    assert 0.05 <= slow["s"] < 1
    assert 0.001 <= fast["s"] < slow["s"]
    assert slow["processor s"] < 0.05, "sleep is no work"
    assert 50 < slow["peak own MB"] < slow["peak resident MB"]
    assert one > 0
    assert len(slow["times"]) == 1 + 2 * 3, "once to be ready, and twice a turn, of which the second is counted"
    turns = sorted([(time, "slow") for time in slow["times"][1:]] + [(time, "fast") for time in fast["times"][1:]])
    assert [name for _, name in turns] == ["slow", "slow", "fast", "fast"] * 3


def test_a_case_that_ends_ends_the_benchmark(load: Callable[[str], ModuleType], tmp_path: Path) -> None:
    (tmp_path / "case.py").write_text(CASE)
    with pytest.raises(RuntimeError, match="a case has ended; its error stands above"):
        load("measuring").take_turns({"broken": [str(tmp_path / "case.py"), "broken"]}, rounds=1)


def test_every_product_is_held_against_the_peak_of_its_type(load: Callable[[str], ModuleType]) -> None:
    floor = load("gpu").floor
    peaks = {"float32 TFLOP/s": 50.0, "tf32 TFLOP/s": 400.0, "bfloat16 TFLOP/s": 800.0, "copy TB/s": 3.0}
    found = {"float32 GFLOP": 100.0, "bfloat16 GFLOP": 1600.0, "parameter bytes": 1e6}
    assert floor(found, peaks, "highest") == pytest.approx(100 / 50 + 1600 / 800)
    assert floor(found, peaks, "high") == pytest.approx(100 / 400 + 1600 / 800)
    large = {**found, "parameter bytes": 3e9}
    assert floor(large, peaks, "highest") == pytest.approx(7.0), "7 x 3 GB at 3 TB/s"


@pytest.mark.slow
def test_a_command_has_begun_when_its_first_step_has_ended(
    load: Callable[[str], ModuleType], small_settings: list[str]
) -> None:
    found = load("startup").run(["method=plain", *small_settings, "trainer.max_epochs=1"])
    assert 0.5 < found["first step, s"] < found["whole command, s"]
    with pytest.raises(RuntimeError, match=r"train.py method=nonsense .* failed"):
        load("startup").run(["method=nonsense", *small_settings])
