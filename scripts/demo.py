"""The main job on real data: plain SASRec, SAGE and SAGE with fused scores on a year of supermarket purchases, side by side.

Runs ``train.py`` twice on ``dataset=journey`` with the MiniLM encoder, evaluates the second model with
``scorer=learned_fusion``, then prints one table with the best floor. Steps that were done before are reused. Arguments are
handed on to both runs: ``python scripts/demo.py backbone=gru4rec``.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console

from sage_pl.comparison.cells import UNCONVERGED, marks_of
from sage_pl.evaluation.floors import best_floor, label, standing
from sage_pl.evaluation.table import results_table, select

ROOT = Path(__file__).parent.parent
FUSED = "sage, fused"


def run(name: str, script: str, *options: str) -> Path:
    """Run a script with a folder of its own, and return that folder."""
    folder = ROOT / "outputs" / "demo" / name
    print(f"\n$ python {script} {' '.join(options)}", flush=True)
    (folder / "metrics.json").unlink(missing_ok=True)
    command = [sys.executable, str(ROOT / script), *options, f"hydra.run.dir='{folder}'"]
    subprocess.run(command, check=True, cwd=ROOT)
    return folder


def main() -> None:
    start = time.perf_counter()
    trained = {m: run(m, "train.py", f"method={m}", "experiment=demo", *sys.argv[1:]) for m in ("plain", "sage")}
    checkpoint = f"checkpoint='{trained['sage'] / 'checkpoints' / 'best.ckpt'}'"
    folders = {**trained, FUSED: run("fused", "scripts/evaluate.py", checkpoint, "scorer=learned_fusion")}
    results = {name: json.loads((folder / "metrics.json").read_text()) for name, folder in folders.items()}
    marks = {name: marks_of(bool(metrics.get("converged", 1)), False) for name, metrics in results.items()}
    marks[FUSED] = marks["sage"]
    models = {" ".join([name, *marks[name]]): select(metrics, "test") for name, metrics in results.items()}
    console = Console()
    for protocol in ("full", "sampled100"):
        floor = best_floor(results["sage"], protocol)
        console.print(results_table({label(floor): select(results["sage"], f"floor/{floor}"), **models}, protocol))
        console.print(standing(results[FUSED], protocol))
    if any(marks.values()):
        print(f"{UNCONVERGED} not converged: the best epoch is the last, so no gain is claimed from it.")
    print("One seed: read differences of a few percent as noise; docs/results.md has seeds and spread.")
    for method, folder in trained.items():
        print(f"{method:6} run folder {folder}\n       metrics    {folder / 'metrics.json'}")
        print(f"       checkpoint {folder / 'checkpoints' / 'best.ckpt'}")
    print(f"Done in {time.perf_counter() - start:.0f} s.")


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as failed:
        sys.exit(f"the demo stopped: a training run failed with exit code {failed.returncode}; its log is above")
