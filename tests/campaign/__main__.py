"""The campaign: hostile, cut-off, damaged and extreme cases, counted by how they ended.

python -m tests.campaign                       every family
python -m tests.campaign kills damage          some of them
python -m tests.campaign --checkout ../before  another checkout's commands, for the table before and after
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
import pkgutil
import random
import sys
import traceback
from collections import Counter
from pathlib import Path

from tests.campaign.bench import ROOT, VERDICTS, Bench, Verdict

TOOLS = {"bench", "payloads", "worker", "__main__", "test_campaign"}


def families() -> list[str]:
    """Names of the modules of this folder that hold cases."""
    return [m.name for m in pkgutil.iter_modules([str(Path(__file__).parent)]) if m.name not in TOOLS]


def run(bench: Bench, family: str, limit: int | None = None) -> list[tuple[str, Verdict]]:
    """The cases of a family with their verdicts; ``limit`` of them, spread over the whole list."""
    cases = list(importlib.import_module(f"tests.campaign.{family}").cases(bench))
    if limit is not None and limit < len(cases):
        cases = random.Random(bench.seed).sample(cases, limit)
    done: list[tuple[str, Verdict]] = []
    for name, case in cases:
        try:
            verdict = case()
        except Exception:  # noqa: BLE001  a case that cannot be judged must not end the campaign
            traceback.print_exc()
            verdict = "wrong result"
        done.append((name, verdict))
        if verdict != "held":
            print(f"{family}: {name}: {verdict}", flush=True)
    return done


def table(results: dict[str, list[tuple[str, Verdict]]]) -> str:
    """One row per family: how many cases ended in which way."""
    lines = [["family", "cases", *VERDICTS]]
    for family, done in results.items():
        counts = Counter(verdict for _, verdict in done)
        lines.append([family, str(len(done)), *(str(counts[verdict]) for verdict in VERDICTS)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def main() -> None:
    """Run families and print the table; exit code 1 if a case did not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaign", description=__doc__.splitlines()[0])
    parser.add_argument("families", nargs="*", help=f"of {', '.join(families())}; all where none is named")
    parser.add_argument("--checkout", type=Path, default=ROOT, help="root of the clone whose commands run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, help="at most so many cases of each family")
    parser.add_argument("--json", type=Path, help="a file for every case's verdict")
    options = parser.parse_args()
    results = {}
    for family in options.families or families():
        bench = Bench(options.checkout.resolve(), options.seed)
        try:
            results[family] = run(bench, family, options.limit)
        finally:
            bench.close()
        print(table(results), flush=True)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))
    sys.exit(any(verdict != "held" for _, verdict in itertools.chain(*results.values())))


if __name__ == "__main__":
    main()
