"""Weights of a finished run as the start of a part of a model."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import Tensor, nn

from sage_pl.artifacts.weights import read_weights
from sage_pl.errors import SettingError

_WRAPPED = re.compile(r"^((?:item|sequence)_encoder)\.encoder\.")


class WarmStart:
    """Copies the weights below ``source`` in a finished run's model to those below ``target`` in another model.

    Args:
        run: folder of the run, with ``best.ckpt``: ``${artifacts.<stage>}``.
        source: a part of that model by its path, e.g. ``item_encoder``.
        target: path of the part that receives them; None for the same path.

    Raises:
        ValueError: the two parts differ in the names or shapes of their weights.
    """

    def __init__(self, run: str, source: str, target: str | None = None) -> None:
        self.run = run
        self.source = source
        self.target = source if target is None else target

    def __call__(self, model: nn.Module) -> None:
        weights = read_weights(Path(self.run) / "best.ckpt")["state_dict"]
        sources, targets = _below(weights, self.source), _below(model.state_dict(), self.target)
        shapes = [{name: tuple(tensor.shape) for name, tensor in part.items()} for part in (sources, targets)]
        if shapes[0] != shapes[1] or not sources:
            different = sorted(dict(shapes[0].items() ^ shapes[1].items()))
            raise SettingError(
                f"{self.target} cannot start from {self.source} of {self.run}: "
                f"{', '.join(different) or 'there is no weight'} differ in name or shape "
                f"({len(sources)} weights given, {len(targets)} wanted); both must be the same kind of part and width, or "
                "leave this start out with start.NAME=null"
            )
        with torch.no_grad():
            for name, tensor in targets.items():
                tensor.copy_(sources[name])


def _below(weights: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    """The weights of a part by their names in it; the encoders that ``model=cosine`` wraps have the names of unwrapped ones."""
    named = {_WRAPPED.sub(r"\1.", name): tensor for name, tensor in weights.items()}
    return {name[len(part) + 1 :]: tensor for name, tensor in named.items() if name.startswith(f"{part}.")}
