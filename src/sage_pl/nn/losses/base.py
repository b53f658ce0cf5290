"""The base class of every loss: terms (``sage_pl.nn.losses``) and objectives (``sage_pl.nn.objectives``)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Literal

from jaxtyping import Float, Int
from torch import Tensor, nn

from sage_pl.ranges import Weight
from sage_pl.types import SeqBatch


class LossTerm(nn.Module, ABC):
    """One named, weighted loss: an unweighted mean over valid entries, 0 where there are none.

    A subclass computes it in ``forward(step)`` from a :class:`sage_pl.types.LossContext`. The methods that take a batch run
    once a step on the CPU, before the batch moves to a device; they return CPU tensors and store nothing on ``self``.

    Args:
        weight: factor of this loss in the total.

    Attributes:
        name: the name under which a model holds the term; set by the model.
        needs: batch keys it reads.
        reads: views of the items it reads.
        catalogue: True where it calls ``all_outputs()``, so that the step encodes the whole catalogue, in all views.
        decodes: True where it needs a :class:`sage_pl.types.CodeContext`, i.e. a model that decodes items.
        reads_itself: True where it passes sequences through a causal decoder by itself, so that positions inside of one can be
            predicted although the decoder reads whole sequences.
        extent: what it reads of the sequences, so that several processes compute the same (:mod:`sage_pl.nn.modules.parts`).
            ``positions``: labelled positions, of which it is a mean; a draw of the shape of ``targets`` belongs to them.
            ``users``: users' last states and items. ``batch``: any state.
    """

    name: str = ""
    needs: frozenset[str] = frozenset()
    reads: frozenset[str] = frozenset()
    catalogue: bool = False
    decodes: bool = False
    reads_itself: bool = False
    extent: Literal["positions", "users", "batch"] = "batch"

    def __init__(self, weight: Weight) -> None:
        super().__init__()
        self.weight = weight

    def draw(self, batch: SeqBatch, epoch: int) -> Int[Tensor, "..."] | None:
        """The random draw of this step, stored as ``batch["draws"][self.name]``; None where nothing is drawn."""
        return None

    def item_ids(self, batch: SeqBatch) -> list[Int[Tensor, "..."]]:
        """Ids, beyond those of the sequences, whose vectors this term reads; called after :meth:`draw`."""
        return []

    def begin_epoch(self, model: Any) -> None:
        """Called with the model before the first step of every epoch; it may set weights."""

    def chance(self, n_items: int) -> float | None:
        """The loss where nothing is known; None where that is no one number."""
        return None

    @abstractmethod
    def forward(self, step: Any) -> Float[Tensor, ""]:
        """The unweighted loss."""
