"""Time of a training step: SAGE with wide text and long inputs, in units of a matrix product, beside the reference's figures.

``python benchmarks/steps.py [key=value]``, e.g. ``paths.data=DIR dataset=llmesr_fashion``. Text vectors are random, 1536
wide: their values do not change the work. One *G* is the time of a 2048 x 2048 float32 matrix product on this machine.
"""

from __future__ import annotations

import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from torch.profiler import record_function

from sage_pl import config as checks
from sage_pl import runs
from sage_pl.preparation import prepare

ROOT = Path(__file__).parent.parent
REFERENCE_G = {"sasrec": 350.0, "bert4rec": 350.0, "gru4rec": 160.0}  # measured in the reference's code, 128 users
DISTILLATION = {"exact distillation": "loss.alpha=0.1", "bank": "loss/term@loss.terms.distillation=distillation_bank"}
SETTINGS = ["data.batch_size=128", "data.max_len=200", "embedder=precomputed", "method=sage"]


def median_seconds(work: Callable[[], object], repeats: int) -> float:
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def unit() -> float:
    """Seconds of one G."""
    square = torch.randn(2048, 2048)
    return median_seconds(lambda: square @ square, 9)


def configuration(overrides: list[str]) -> Any:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("train", overrides=overrides)


def random_text(overrides: list[str], width: int = 1536) -> str:
    """A file of one random vector per item of the data set."""
    plain = configuration([*overrides, "method=plain"])
    checks.prune(plain)
    prepare(plain, [])
    file = Path(plain.paths.artifacts) / f"random-{plain.catalog.n_items}x{width}.npy"
    if not file.is_file():
        np.save(file, np.random.default_rng(0).standard_normal((plain.catalog.n_items, width), dtype=np.float32))
    return str(file)


def stepper(overrides: list[str], batches: int = 30) -> tuple[Callable[[int], None], Any]:
    """A function that takes the training step of one of so many batches: batch, forward, backward, update; and the model."""
    config = configuration(overrides)
    checks.prune(config)
    prepare(config, checks.wanted_artifacts(config, runs.PARTS))
    torch.manual_seed(0)
    datamodule, model, _ = runs.build(config, {})
    model.log_dict = lambda *_, **__: None
    optimizer = model.configure_optimizers()
    loader = datamodule.train_dataloader()
    users = list(itertools.islice(loader.sampler, batches))

    def step(number: int) -> None:
        with record_function("batch"):
            batch = loader.dataset[users[number % len(users)]]
        with record_function("forward"):
            loss = model.training_step(batch, 0)
        with record_function("backward"):
            optimizer.zero_grad()
            loss.backward()
        with record_function("update"):
            optimizer.step()

    return step, model


def step_seconds(overrides: list[str], repeats: int = 30) -> float:
    """Median of whole steps."""
    step, numbers = stepper(overrides)[0], itertools.count()
    return median_seconds(lambda: step(next(numbers)), repeats)


def show(name: str, figures: dict[str, float], one: float) -> None:
    text = "  ".join(f"{label} {value:.3g}" for label, value in figures.items())
    print(f"{name:18} {text}  (1 G = {one:.3f} s, {torch.get_num_threads()} threads)", flush=True)


def main(overrides: list[str]) -> None:
    text = random_text([entry for entry in overrides if not entry.startswith("backbone=")])
    settings = [*SETTINGS, f"steps.embed.path={text}"]
    results: dict[str, dict[str, float]] = {}
    for backbone, reference in REFERENCE_G.items():
        seconds = step_seconds([*settings, f"backbone={backbone}", *overrides])
        one = unit()
        results[backbone] = {"seconds": seconds, "G": seconds / one, "times reference": reference * one / seconds}
        show(backbone, results[backbone], one)
    none = step_seconds([*settings, "loss.alpha=0", *overrides])
    for name, choice in DISTILLATION.items():
        seconds, one = step_seconds([*settings, choice, *overrides]), unit()
        results[name] = {"seconds": seconds, "G": seconds / one, "times without distillation": seconds / none}
        show(name, results[name], one)
    out = ROOT / "benchmarks" / "results"
    out.mkdir(exist_ok=True)
    told = [entry for entry in overrides if not entry.startswith("paths.")]  # where things lie decides nothing
    (out / "steps.json").write_text(json.dumps({"torch": torch.__version__, "overrides": told, **results}, indent=2))


if __name__ == "__main__":
    main(sys.argv[1:])
