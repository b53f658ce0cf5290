"""Every method with every backbone on one data set, as commands: fit, go on from the last epoch, evaluate the checkpoint alone.

``python benchmarks/cells.py dataset=journey [key=value ...]`` trains one epoch, resumes to two, evaluates ``best.ckpt`` and
compares the two ``metrics.json``, for each cell. Overrides go to every command; ``+trainer.limit_train_batches=20`` makes
epochs short. Prints a table; the exit code is the number of cells that failed. The tests do the same on a synthetic set.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
METHODS = (
    *("plain", "llm_init", "text_only", "residual_text", "llm_esr", "sage", "llmemb", "pad"),
    *("sam", "semantic_convergence"),
)
BACKBONES = ("sasrec", "bert4rec", "gru4rec")
SHORT = ("trainer.check_val_every_n_epoch=1", "report=null")


def call(script: str, *arguments: str) -> None:
    """Run a command.

    Raises:
        RuntimeError: it failed; with its last words.
    """
    done = subprocess.run([sys.executable, str(ROOT / script), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError((done.stdout + done.stderr).strip().split("\n")[-1])


def cell(method: str, backbone: str, overrides: list[str], folder: Path) -> dict[str, float]:
    """The metrics of a cell whose checkpoint, evaluated alone, has the very same.

    Raises:
        RuntimeError: a command failed, or the metrics differ.
    """
    own = ["embedder=minilm"] if method == "llmemb" else []
    command = [f"method={method}", f"backbone={backbone}", *SHORT, *own, *overrides]
    first, second, alone = (folder / f"{method}-{backbone}-{name}" for name in ("first", "second", "alone"))
    call("train.py", *command, "trainer.max_epochs=1", f"hydra.run.dir={first}")
    resume = f"resume={first / 'checkpoints' / 'last.ckpt'}"
    call("train.py", *command, "trainer.max_epochs=2", resume, f"hydra.run.dir={second}")
    call("scripts/evaluate.py", f"checkpoint={second / 'checkpoints' / 'best.ckpt'}", f"hydra.run.dir={alone}")
    trained, evaluated = (json.loads((place / "metrics.json").read_text()) for place in (second, alone))
    if different := [name for name, value in trained.items() if evaluated.get(name) != value]:
        raise RuntimeError(f"evaluated alone, {len(different)} metrics differ, first {different[0]}")
    return trained


def main(overrides: list[str]) -> int:
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for method, backbone in itertools.product(METHODS, BACKBONES):
            start = time.perf_counter()
            try:
                told = f"NDCG@10 {100 * cell(method, backbone, overrides, Path(folder))['test/full/ndcg@10']:.2f}"
            except RuntimeError as error:
                failed, told = failed + 1, f"FAILED: {error}"
            print(f"{method:22} {backbone:10} {time.perf_counter() - start:6.0f} s  {told}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
