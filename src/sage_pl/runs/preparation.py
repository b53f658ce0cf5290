"""From a plan to its artifacts: what is missing is made, the rest is opened."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf

from sage_pl.artifacts.building import build
from sage_pl.artifacts.store import Artifact, Step, Store
from sage_pl.data.interactions import left_out
from sage_pl.errors import UserError
from sage_pl.evaluation.groups import days
from sage_pl.hardware import return_freed_memory
from sage_pl.runs.construct import construct
from sage_pl.runs.plan import Plan
from sage_pl.runs.recorded import Masked, hidden
from sage_pl.runs.stages import Stage

log = logging.getLogger(__name__)


def prepare(
    plan: Plan,
    root: str | Path | None = None,
    also: Iterable[str | Path] = (),
    opened: Mapping[str, Artifact] | None = None,
    only: Iterable[str] | None = None,
) -> dict[str, Artifact]:
    """Make the artifacts of a plan and all they depend on; ``sequences`` is always made.

    Args:
        plan: of a run.
        root: the cache to write to; None for the plan's.
        also: caches to read from.
        opened: artifacts that are used as they are.
        only: names of the artifacts to make, with all they depend on; None for all that the plan reads.

    Returns:
        Artifacts by name, parents first.
    """
    names = [*plan.artifacts] if only is None else list(only)
    steps = {name: _step(plan, name) for name in plan.steps}
    if texts := hidden(plan.config):
        for handler in logging.root.handlers:
            handler.addFilter(Masked(texts))
    threads = torch.get_num_threads()
    store, around = store_of(plan, root, also), partial(_work_on, plan)
    data = build(steps, ["sequences"], store, opened, around)
    _describe(plan.config.dataset.name, data["sequences"])
    artifacts = build(steps, names, store, {**(opened or {}), **data}, around)
    torch.set_num_threads(threads)  # UMAP sets OpenMP's, which torch shares, to the number of cores
    return artifacts


def _describe(name: str, sequences: Artifact) -> None:
    """Log what data there are, and what the filters left out."""
    n_users, n_items = len(sequences.array("train_end")) - 1, sequences.height("items")
    n_events = len(sequences.array("values"))
    counts = f"{n_users:,} users, {n_items:,} items, {n_events:,} events, {n_events / n_users:.1f} a user"
    log.info("%s: %s%s", name, counts, _dates(sequences))
    for text in left_out(json.loads((sequences.path / "report.json").read_text())["stages"]):
        log.info("%s", text)


def _dates(sequences: Artifact) -> str:
    """The first and the last day of the events, where their times are dates."""
    day = days(sequences)
    if day is None:
        return ""
    first, last = (str(np.datetime64(int(one), "D")) for one in (day[day >= 0].min(), day.max()))
    return f", {first} to {last}"


@contextmanager
def _work_on(plan: Plan, steps: Sequence[str]) -> Iterator[None]:
    """Within it, an error follows from some steps, as long as none is a stage, which depends on all of the run.

    After it, what the work freed is the system's again: the gradients of a tuned language model take many times its weights.
    """
    try:
        yield
    except UserError as error:
        if not plan.stages.keys() & set(steps):
            error.causes = error.causes or (tuple(f"steps.{name}" for name in steps),)
        raise
    finally:
        return_freed_memory()


def store_of(plan: Plan, root: str | Path | None = None, also: Iterable[str | Path] = ()) -> Store:
    """The cache of a plan, or one at ``root``."""
    return Store(root or plan.config.paths.artifacts, plan.config.get("verify", True), also, hidden(plan.config))


def _step(plan: Plan, name: str) -> Step:
    if name in plan.stages:
        return Stage.of(name, plan.stages[name])
    plain: Any = OmegaConf.to_container(plan.config.steps[name], resolve=True)
    return construct(f"steps.{name}", plain)
