"""Time and memory of a training step: SAGE with wide text and long inputs, in matrix products, beside the reference's.

``python benchmarks/steps.py [key=value]``, e.g. ``paths.data=DIR dataset=llmesr_fashion``. Text vectors are random, 1536
wide: their values do not change the work. All cases take turns, a step each, each in a process of its own. Writes
benchmarks/results/steps.json.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from measuring import ROOT, about, serve, take_turns, write
from torch.profiler import record_function

from sage_pl.hardware import keep_freed_memory
from sage_pl.runs.parts import build_parts
from sage_pl.runs.plan import fill_in_artifacts, make_plan, recipe_of
from sage_pl.runs.preparation import prepare

ROUNDS, BATCHES = 30, 30
REFERENCE_G = {"sasrec": 350.0, "bert4rec": 350.0, "gru4rec": 160.0}  # measured in the reference's code, 128 users
SETTINGS = ["data.batch_size=128", "data.max_len=200", "embedder=precomputed", "method=sage"]
CASES = {
    **{backbone: [f"backbone={backbone}"] for backbone in REFERENCE_G},
    "without distillation": ["backbone=sasrec", "loss.alpha=0"],
    "bank": ["backbone=sasrec", "loss/term@loss.terms.distillation=distillation_bank"],
}
DISTILLATION = {"sasrec": "exact distillation", "bank": "bank"}  # beside the case without


def configuration(overrides: list[str]) -> Any:
    """As ``train.py`` composes it; nothing is written into its ``run_dir``."""
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("train", overrides=["run_dir=outputs/benchmarks", "choices={}", *overrides])


def prepared(overrides: list[str], wanted: Iterable[str] | None = None) -> Any:
    """The configuration of a run with its artifacts made and filled in; None for those that it reads."""
    plan = make_plan(recipe_of(configuration(overrides)), wanted=wanted)
    return fill_in_artifacts(plan.config, prepare(plan))


def random_text(overrides: list[str], width: int = 1536) -> str:
    """A file of one random vector per item of the data set."""
    plain = prepared([*overrides, "method=plain"], wanted=[])
    file = Path(plain.paths.artifacts) / f"random-{plain.catalog.n_items}x{width}.npy"
    if not file.is_file():
        np.save(file, np.random.default_rng(0).standard_normal((plain.catalog.n_items, width), dtype=np.float32))
    return str(file)


def parts(overrides: list[str]) -> Any:
    """Data module, model and evaluation of a run, as ``train.py`` would make them."""
    keep_freed_memory()
    config = prepared(overrides)
    torch.manual_seed(0)
    return build_parts(config, {})


def stepper(overrides: list[str], batches: int = BATCHES) -> tuple[Callable[[int], None], Any]:
    """A function that takes the training step of one of so many batches: batch, forward, backward, update; and the model."""
    datamodule, model, _ = parts(overrides)
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


def steps_of(overrides: list[str]) -> tuple[Callable[[], object], Callable[[], dict[str, Any]]]:
    """The next step of a configuration, for :func:`serve`."""
    step, numbers = stepper(overrides)[0], itertools.count()
    return lambda: step(next(numbers)), dict


def main(overrides: list[str]) -> None:
    text = random_text(overrides)
    settings = [*SETTINGS, f"steps.embed.path={text}", *overrides]
    commands = {name: [__file__, "case", *settings, *own] for name, own in CASES.items()}
    for own in CASES.values():  # what is missing is made once, and not by all at the same time
        prepared([*settings, *own])
    figures, one = take_turns(commands, ROUNDS)
    for name, found in figures.items():
        found["G"] = found["s"] / one
        if name in REFERENCE_G:
            found["times the reference"] = REFERENCE_G[name] / found["G"]
        if name in DISTILLATION:
            found["of a step without distillation"] = found["s"] / figures["without distillation"]["s"]
    told = [entry for entry in overrides if not entry.startswith("paths.")]  # where things lie decides nothing
    results = {**about(), "1 G, s": one, "overrides": told, **figures}
    print({name: value for name, value in results.items() if name not in figures})
    for name, found in figures.items():
        print(f"{name:21}", "  ".join(f"{label} {value:.3g}" for label, value in found.items()))
    write("steps", results)


if __name__ == "__main__":
    if sys.argv[1:2] == ["case"]:
        serve(lambda: steps_of(sys.argv[2:]))
    else:
        main(sys.argv[1:])
