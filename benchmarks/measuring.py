"""How the benchmarks measure: medians, cases that take turns, one G, and results with the versions they were measured with.

One *G* is the time of a 2048 x 2048 float32 matrix product on the same machine in the same run.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from memory import Watch

from sage_pl.hardware import wait_asleep

ROOT = Path(__file__).parent.parent
wait_asleep()  # as the doors do; the cases, processes of their own, load torch after it
PACKAGES = ("torch", "pytorch-lightning", "numpy")


def median_seconds(work: Callable[[], object], repeats: int) -> float:
    """After once that is not counted."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def unit(repeats: int = 9) -> float:
    """Seconds of one G."""
    square = torch.randn(2048, 2048)
    return median_seconds(lambda: square @ square, repeats)


def about() -> dict[str, Any]:
    """What figures were measured with."""
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    versions["python"] = platform.python_version()
    return {"versions": versions, "cpus": os.cpu_count(), "threads": torch.get_num_threads()}


def write(name: str, results: Mapping[str, Any]) -> None:
    """Into benchmarks/results."""
    out = ROOT / "benchmarks" / "results"
    out.mkdir(exist_ok=True)
    (out / f"{name}.json").write_text(json.dumps(results, indent=2) + "\n")


class Case:
    """A process that works whenever it is told to, so that cases can take turns and each has a peak of memory of its own.

    Args:
        command: arguments of this interpreter; it calls :func:`serve`.
        environment: variables beside those of this process.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str] = MappingProxyType({})) -> None:
        self._process = subprocess.Popen(
            [sys.executable, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        self.seconds: list[float] = []
        self.processor: list[float] = []

    def wait_until_ready(self) -> None:
        self._answer()

    def turn(self) -> None:
        """Once more."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        seconds, processor = self._answer()
        self.seconds.append(seconds)
        self.processor.append(processor)

    def end(self) -> dict[str, Any]:
        """Medians and what the process tells at last."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        told = self._answer()
        self._process.wait()
        return {"s": statistics.median(self.seconds), "processor s": statistics.median(self.processor), **told}

    def stop(self) -> None:
        """Whatever it does."""
        self._process.kill()
        self._process.wait()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("a case has ended; its error stands above")
        return json.loads(line)


def take_turns(
    commands: Mapping[str, Sequence[str]],
    rounds: int,
    environments: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
) -> tuple[dict[str, dict[str, Any]], float]:
    """All cases at once, one after the other in every round: what else happens on the machine hits all of them alike.

    Returns:
        The figures of each, and seconds of one G, measured in the same rounds.
    """
    cases = {name: Case(command, environments.get(name, {})) for name, command in commands.items()}
    try:
        for case in cases.values():
            case.wait_until_ready()
        units = []
        for _ in range(rounds):
            units.append(unit(1))
            for case in cases.values():
                case.turn()
        return {name: case.end() for name, case in cases.items()}, statistics.median(units)
    finally:
        for case in cases.values():
            case.stop()


def serve(make: Callable[[], tuple[Callable[[], object], Callable[[], dict[str, Any]]]]) -> None:
    """The process of a :class:`Case`: works once for every line of input, and once before, not counted, to be warm again.

    Args:
        make: gives the work, and what is told at the end; the largest memory until then is told too.
    """
    out, sys.stdout = sys.stdout, sys.stderr  # libraries may print; only answers are read
    with Watch() as watch:
        work, last = make()
        work()
        print(json.dumps("ready"), file=out, flush=True)
        for _ in sys.stdin:
            work()
            start, busy = time.perf_counter(), time.process_time()
            work()
            print(json.dumps([time.perf_counter() - start, time.process_time() - busy]), file=out, flush=True)
    print(json.dumps({**{f"peak {name}": value for name, value in watch.peak.items()}, **last()}), file=out, flush=True)
