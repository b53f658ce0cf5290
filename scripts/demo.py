"""The main job on real data: plain SASRec and SAGE on a year of supermarket purchases, side by side.

Runs ``train.py`` twice on ``dataset=journey`` with the MiniLM encoder, then prints one table. Steps that were done before are
reused. Arguments are handed on to both runs: ``python scripts/demo.py backbone=gru4rec``.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console

from sage_pl.comparison.cells import UNCONVERGED, marks_of
from sage_pl.evaluation.table import results_table, select

ROOT = Path(__file__).parent.parent


def train(method: str, extra: list[str]) -> Path:
    """Train one method and return its run folder."""
    folder = ROOT / "outputs" / "demo" / method
    command = [
        sys.executable,
        ROOT / "train.py",
        f"method={method}",
        "experiment=demo",
        *extra,
        f"hydra.run.dir='{folder}'",
    ]
    print(f"\n$ python train.py method={method} experiment=demo {' '.join(extra)}", flush=True)
    (folder / "metrics.json").unlink(missing_ok=True)
    subprocess.run(list(map(str, command)), check=True, cwd=ROOT)
    return folder


def main() -> None:
    start = time.perf_counter()
    folders = {method: train(method, sys.argv[1:]) for method in ("plain", "sage")}
    results = {method: json.loads((folder / "metrics.json").read_text()) for method, folder in folders.items()}
    rows = {"popularity": select(results["sage"], "floor/popularity")}
    marks = {method: marks_of(bool(metrics.get("converged", 1)), False) for method, metrics in results.items()}
    rows |= {" ".join([method, *marks[method]]): select(metrics, "test") for method, metrics in results.items()}
    console = Console()
    for protocol in ("full", "sampled100"):
        console.print(results_table(rows, protocol))
    if any(marks.values()):
        print(f"{UNCONVERGED} not converged: the best epoch is the last, so no gain is claimed from it.")
    print("One seed: read differences of a few percent as noise; docs/results.md has seeds and spread.")
    for method, folder in folders.items():
        print(f"{method:6} run folder {folder}\n       metrics    {folder / 'metrics.json'}")
        print(f"       checkpoint {folder / 'checkpoints' / 'best.ckpt'}")
    print(f"Done in {time.perf_counter() - start:.0f} s.")


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as failed:
        sys.exit(f"the demo stopped: a training run failed with exit code {failed.returncode}; its log is above")
