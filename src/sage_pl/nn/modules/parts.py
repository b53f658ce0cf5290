"""A training step in parts, one for each process, and the whole that losses over a batch see.

Every process loads and prepares the same batch, so that draws, counts and the number of steps are those of one process. Process
r of P encodes the sequences r, r + P, ... of it. What a loss reads beyond them (``LossTerm.extent``) is gathered.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from sage_pl import processes
from sage_pl.nn.losses.base import LossTerm
from sage_pl.nn.modules.gathering import gather
from sage_pl.nn.modules.step import TrainingStep, read_ids
from sage_pl.types import LossContext, SeqBatch


def part_of(batch: SeqBatch, every: Collection[LossTerm], rank: int, world: int) -> SeqBatch:
    """The rows r, r + P, ... of a prepared batch, for the losses that are means over positions.

    A process without a row reads the first part and predicts nothing. Where every loss is such a mean, the part's own items are
    encoded, otherwise those of the batch.

    Args:
        batch: of :func:`sage_pl.nn.modules.step.prepare_batch`.
        every: term of the model. The draws of those over positions go with the part: of the shape of ``targets`` by rows, any
            other as it is.
        rank, world: r and P.
    """
    terms = [term for term in every if term.extent == "positions"]
    first = rank if rank < len(batch["items"]) else 0
    rows = slice(first, None, world)
    targets = batch["targets"][rows] if first == rank else torch.zeros_like(batch["targets"][rows])
    mine = batch["state_rows"] % world == first
    shape = batch["targets"].shape
    draws = {term.name: batch["draws"][term.name] for term in terms if term.name in batch["draws"]}
    part: Any = {
        "items": batch["items"][rows],
        "masked": batch["masked"][rows],
        "targets": targets,
        "labels": targets.flatten().nonzero().squeeze(1),
        "state_rows": batch["state_rows"][mine] // world,
        "draws": {name: draw[rows] if draw.shape == shape else draw for name, draw in draws.items()},
    }
    part |= {"user": batch["user"][mine]} if "user" in batch else {}
    if "encode_ids" in batch:
        part["encode_ids"] = read_ids(part, terms) if len(terms) == len(every) else batch["encode_ids"]
    return part


def losses_of(step: LossContext, batch: SeqBatch, terms: Collection[LossTerm]) -> dict[str, Float[Tensor, ""]]:
    """Every term by name, scaled so that the mean over the processes is the term of the whole batch, as is the mean gradient.

    A mean over this process's n of N labelled positions counts by ``P n / N``. Every other term is computed by every process
    from the gathered batch.

    Args:
        step: of the part, a :class:`TrainingStep`.
        batch: the whole.
        terms: of the model.
    """
    assert isinstance(step, TrainingStep)
    share = processes.world() * len(step.batch["labels"]) / max(len(batch["labels"]), 1)
    extents = {term.extent for term in terms}
    whole = step
    if extents != {"positions"}:
        hidden = step.hidden if "batch" in extents else step.hidden[:, -1:]
        whole = replace(step, batch=batch, hidden=gather(hidden, len(batch["items"])))
    return {term.name: term(step) * share if term.extent == "positions" else term(whole) for term in terms}
