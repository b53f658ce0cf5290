"""How long a command takes to begin: ``train.py --help``, and from the command to the end of the first training step.

``python benchmarks/startup.py [key=value]``, e.g. ``paths.data=DIR dataset=beauty``; plain and SAGE, on prepared data: what is
missing is made first and not counted. Medians of three, in turns. Writes benchmarks/results/startup.json.
"""

from __future__ import annotations

import json
import runpy
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
REPEATS = 3
SHORT = ["debug=fast_dev_run", "report=null"]
METHODS = ("plain", "sage")
STEP = "first step at "


def tell_the_first_step() -> None:
    """In the process of a command: when its first training step has ended, print the time of day."""
    from sage_pl.commands.importing import command_module
    from sage_pl.runs import launch

    enter = launch.in_own_process

    def entered(config: Any, program: tuple[str, ...]) -> bool:
        alone = enter(config, program)
        command_module("sage_pl.commands.train")  # what the command imports next
        from sage_pl.nn.modules.base import RecommenderModule

        RecommenderModule.on_train_batch_end = lambda *_, **__: print(f"{STEP}{time.time()}", flush=True)  # type: ignore
        return alone

    launch.in_own_process = entered


def run(overrides: list[str]) -> dict[str, float]:
    """Seconds from the command to the end of its first step, and to its end.

    Raises:
        RuntimeError: the command failed.
    """
    start = time.time()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "command", *SHORT, *overrides, f"hydra.run.dir={folder}"]
        done = subprocess.run(command, check=False, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    end = time.time()
    if done.returncode:
        raise RuntimeError(f"train.py {' '.join(overrides)} failed: {done.stdout[-1000:]} (or see its errors above)")
    first = next(float(line.removeprefix(STEP)) for line in done.stdout.split("\n") if line.startswith(STEP))
    return {"first step, s": first - start, "whole command, s": end - start}


def show_help() -> dict[str, float]:
    start = time.time()
    subprocess.run([sys.executable, "train.py", "--help"], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    return {"s": time.time() - start}


def main(overrides: list[str]) -> None:
    from measuring import about, write  # torch, which is to load where it is measured

    works = {"--help": show_help}
    works |= {method: lambda method=method: run([f"method={method}", *overrides]) for method in METHODS}
    for work in works.values():
        work()
    rounds = [{name: work() for name, work in works.items()} for _ in range(REPEATS)]
    told = [entry for entry in overrides if not entry.startswith("paths.")]
    results: dict[str, Any] = {**about(), "overrides": told}
    for name in works:
        labels = rounds[0][name]
        results[name] = {label: statistics.median(each[name][label] for each in rounds) for label in labels}
    print(json.dumps(results, indent=2))
    write("startup", results)


if __name__ == "__main__":
    if sys.argv[1:2] == ["command"]:
        sys.argv = [str(ROOT / "train.py"), *sys.argv[2:]]
        sys.path[0] = str(Path(sys.argv[0]).parent)
        tell_the_first_step()
        runpy.run_path(sys.argv[0], run_name="__main__")
    else:
        main(sys.argv[1:])
