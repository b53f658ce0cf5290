"""Whether a change keeps the numbers: every metric of some runs before and after it, compared to the last digit.

``python benchmarks/same_numbers.py BEFORE AFTER [method=a,b] [key=value]``. BEFORE and AFTER are two checkouts: in each of them
every method is prepared from nothing and trained for two epochs on the CPU. Or two folders of finished runs, as an earlier call
made them in ``outputs/same_numbers/{before,after}``. The exit code is 0 if every metric is equal.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

METHODS = "plain,llm_init,residual_text,llm_esr,sage,pad"
SHORT = ["trainer.max_epochs=2", "trainer.accelerator=cpu", "report=null"]
WORK = Path("outputs/same_numbers").resolve()
LINES = 5  # differences printed per run
_TIME = re.compile(r"^\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d")


def train(checkout: Path, outputs: Path, methods: list[str], overrides: list[str]) -> None:
    """One run per method, by the code of a checkout.

    Raises:
        SystemExit: a run failed.
    """
    shutil.rmtree(outputs, ignore_errors=True)
    for method in methods:
        run = [
            f"method={method}",
            *SHORT,
            *overrides,
            f"paths.outputs='{outputs}'",
            f"hydra.run.dir='{outputs / method}'",
        ]
        print(f"$ python {checkout / 'train.py'} {' '.join(run)}", flush=True)
        environment = {**os.environ, "PYTHONPATH": str(checkout / "src")}
        command = [sys.executable, str(checkout / "train.py"), *run]
        done = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=False)
        if done.returncode:
            sys.exit(f"method={method} failed in {checkout}; its log is {outputs / method / 'train.log'}")


def metrics(folder: Path) -> dict[str, dict[str, Any]]:
    """Run -> its metrics; of runs that differ in their time alone, the newest.

    Raises:
        SystemExit: there is no run.
    """
    files = sorted(folder.rglob("metrics.json"))
    if not files:
        sys.exit(f"{folder} holds neither train.py nor a metrics.json")
    parts = {file: file.relative_to(folder).parent.parts for file in files}
    return {"/".join(p for p in parts[file] if not _TIME.match(p)): json.loads(file.read_text()) for file in files}


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """A line for every metric that is not the same in two runs."""
    names = [name for name in before | after if repr(before.get(name)) != repr(after.get(name))]
    return [f"{name}: {before.get(name, 'missing')} before, {after.get(name, 'missing')} after" for name in names]


def compare(before: Path, after: Path) -> bool:
    """Print what is equal and what differs; True if all is equal."""
    old, new = metrics(before), metrics(after)
    equal = True
    for run in old | new:
        lines = differences(old.get(run, {}), new.get(run, {}))
        equal = equal and not lines
        total = len(old.get(run, {}) | new.get(run, {}))
        print(f"{run or before.name}: {total - len(lines)} of {total} metrics are equal")
        print("".join(f"  {line}\n" for line in lines[:LINES]), end="")
    return equal


def main() -> None:
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    before, after, *overrides = sys.argv[1:]
    chosen = [text.removeprefix("method=") for text in overrides if text.startswith("method=")] or [METHODS]
    rest = [text for text in overrides if not text.startswith("method=")]
    folders = []
    for name, place in (("before", Path(before).resolve()), ("after", Path(after).resolve())):
        checkout = (place / "train.py").is_file()
        if checkout:
            train(place, WORK / name, chosen[-1].split(","), rest)
        folders.append(WORK / name if checkout else place)
    sys.exit(0 if compare(*folders) else 1)


if __name__ == "__main__":
    main()
