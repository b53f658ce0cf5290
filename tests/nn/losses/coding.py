"""A step over seven items with codes: two users, two positions each, all weights random, in float64."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sage_pl.nn.modules.generative_step import GenerativeStep
from sage_pl.types import SeqBatch, Targets
from tests.golden.prepared import leaf, normal
from tests.nn.decoders.tiny import CODES, DIM, make_decoder

N = len(CODES)


@dataclass
class Views:
    """Item vectors as leaves, so that gradients can be looked at."""

    text: Tensor = field(default_factory=lambda: leaf(normal(N + 2, DIM, seed=5)))
    codes: Tensor = field(default_factory=lambda: leaf(normal(N + 2, DIM, seed=6)))

    def inputs(self, ids: Tensor) -> dict[str, Tensor]:
        return {"text": self.text[ids], "codes": self.codes[ids]}


class Adding:
    """A sequence encoder whose state is twice what it reads."""

    reads = frozenset({"codes"})
    output_dim = DIM

    def __call__(self, views: Any, mask: Tensor, batch: SeqBatch, last_only: bool = False) -> Tensor:
        return 2 * views["codes"]


def make_step(
    folder: Path,
    name: str = "bilinear",
    targets: Any = ((2, 5), (0, 7)),
    padding: int = 0,
    flipped: bool = False,
) -> Any:
    """Users with the inputs 1 2 and _ 3; a network that reads whole sequences predicts after their ends alone."""
    items, wanted, hidden = torch.tensor([[1, 2], [0, 3]]), torch.tensor(targets), normal(2, 2, DIM, seed=1)
    if name == "t5":
        wanted[:, :-1] = 0
    if flipped:
        items, wanted, hidden = items.flip(0), wanted.flip(0), hidden.flip(0)
    front = torch.zeros(2, padding, dtype=torch.long)
    items, wanted = torch.cat([front, items], 1), torch.cat([front, wanted], 1)
    hidden = leaf(torch.cat([torch.full((2, padding, DIM), 7.0).double(), hidden], 1))
    batch: Any = {"items": items, "targets": wanted, "labels": wanted.flatten().nonzero().squeeze(1), "draws": {}}
    decoder, unused = make_decoder(folder, name), None
    targets_of: Targets = unused  # type: ignore[assignment]
    return GenerativeStep(batch, Views(), hidden, Adding(), targets_of, N + 1, decoder)  # type: ignore[arg-type]
