"""A table in shards within a run: what it goes with, and checkpoints that hold it whole."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor, nn

from sage_pl import processes
from sage_pl.nn.item_encoders.sharded import ShardedIds, shards_of
from sage_pl.runs import checks
from sage_pl.training.optimizers.row_adam import RowAdam

_ROWS = 8192  # of a process, gathered at a time


def shard_problems(model: Mapping[str, Any], callbacks: Mapping[str, Any]) -> Iterator[str]:
    """A line for every part of a model that a table in shards does not go with.

    Args:
        model: its node, as plain values.
        callbacks: of the trainer, likewise.
    """
    parts = {path: checks.part_called(node["_target_"]) for path, node in checks.nodes(model, "model")}
    places = [path for path, part in parts.items() if part is ShardedIds]
    if not places:
        return
    sentence = "item_encoder=sharded does not go with {}; {}"
    if places != ["model.item_encoder"] or parts["model"].decodes:
        yield sentence.format(
            f"{places[0]} of {parts['model'].__name__}", "use it with method=plain, as the items alone"
        )
    objective = parts.get("model.objective")
    if objective is not None and objective.catalogue:
        yield sentence.format(f"{objective.__name__}, which reads every item", "set objective=sampled_softmax")
    if parts.get("model.optimizer") is not RowAdam:
        yield sentence.format("an optimizer of whole tables", "set optimizer=row_adam")
    for name, meaning in (("terms", "loss terms"), ("scorer", "a scorer"), ("start", "a warm start")):
        if model.get(name):
            yield sentence.format(meaning, "use method=plain, which has none")
    for name, node in callbacks.items():
        if node and issubclass(checks.part_called(node["_target_"]), WeightAveraging):
            yield sentence.format(f"callbacks.{name}, which averages weights", f"set callbacks.{name}=null")


def gather_tables(checkpoint: dict[str, Any], model: nn.Module, folder: Path) -> None:
    """Replace every shard of a checkpoint, and its moments, by the whole table, in rank 0; all processes call it.

    Args:
        checkpoint: Lightning's.
        model: of it.
        folder: of the checkpoint; the tables lie there, and not in memory, until they are written.
    """
    for name, table in shards_of(model).items():
        for holder, key in _places(checkpoint, model, name, tuple(table.weight.shape)):
            holder[key] = _gathered(holder[key], table.n_rows, folder)


def take_shards(checkpoint: dict[str, Any], model: nn.Module) -> None:
    """Replace every whole table of a checkpoint, and its moments, by the rows of this process."""
    rank, world = processes.rank(), processes.world()
    for name, table in shards_of(model).items():
        for holder, key in _places(checkpoint, model, name, (table.n_rows, table.weight.shape[1])):
            holder[key] = holder[key][rank::world].clone()


def _places(
    checkpoint: dict[str, Any], model: nn.Module, name: str, shape: tuple[int, ...]
) -> Iterator[tuple[dict[str, Any], str]]:
    """Where a checkpoint has a weight and the optimizer's values of its shape; each is in a copy of the mapping it was in."""
    checkpoint["state_dict"] = dict(checkpoint["state_dict"])
    yield checkpoint["state_dict"], name
    trained = [own for own, parameter in model.named_parameters() if parameter.requires_grad]
    for optimizer in checkpoint.get("optimizer_states", ()):
        values, index = dict(optimizer["state"]), trained.index(name)
        moments = dict(values.get(index, {}))  # none before the first step
        optimizer["state"] = values | ({index: moments} if moments else {})
        for key, value in moments.items():
            if tuple(value.shape) == shape:
                yield moments, key


def _gathered(shard: Float[Tensor, "S D"], n_rows: int, folder: Path) -> Float[Tensor, "R D"]:
    """All rows in rank 0, block by block; the shard itself elsewhere."""
    world, most = processes.world(), -(-n_rows // processes.world())
    whole = _on_disk((n_rows, shard.shape[1]), shard.dtype, folder) if processes.rank() == 0 else None
    for start in range(0, most, _ROWS):
        block = shard[start : start + _ROWS]
        spare = min(_ROWS, most - start) - len(block)  # of a process with a row less
        parts = processes.each(torch.cat([block, block.new_zeros(spare, shard.shape[1])]))
        if whole is not None:
            for rank, part in enumerate(parts):
                rows = whole[start * world + rank :: world][: len(part)]
                rows.copy_(part[: len(rows)])
    return shard if whole is None else whole


def _on_disk(shape: tuple[int, int], dtype: torch.dtype, folder: Path) -> Tensor:
    """A tensor in a file that ends with it; in memory on systems that keep the name of a mapped file."""
    if os.name != "posix":
        return torch.empty(shape, dtype=dtype)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".shards-") as file:
        count = shape[0] * shape[1]
        if hasattr(
            os, "posix_fallocate"
        ):  # a full disk is an error here, and would end the process when the file is used
            os.posix_fallocate(file.fileno(), 0, count * dtype.itemsize)
        return torch.from_file(file.name, shared=True, size=count, dtype=dtype).view(shape)
